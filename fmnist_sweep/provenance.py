"""Where a result came from: versions, machine, code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import distributions, version
from pathlib import Path

_NAMED = ("fmnist-sweep", "tensorflow", "keras", "optuna", "mlflow", "numpy")


def versions() -> dict[str, str]:
    """Python's version and that of each library that matters to a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in _NAMED}}


def environment() -> str:
    """Every installed package, one a line, as pip would pin it."""
    found = {(dist.metadata["Name"], dist.version) for dist in distributions() if dist.metadata["Name"]}
    return "\n".join(f"{name}=={number}" for name, number in sorted(found, key=lambda item: item[0].lower()))


def machine() -> str:
    """The machine in one line: processor, cores, memory."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def git_commit() -> str:
    """The commit that this package is checked out at; "" where it isn't, as in an environment in another repository."""
    here = Path(__file__)
    ours = _git("ls-files", "--error-unmatch", here.name, cwd=here.parent)
    return _git("rev-parse", "HEAD", cwd=here.parent) if ours else ""


def _git(*words: str, cwd: Path) -> str:
    """What git says; "" where it can't."""
    try:
        done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
