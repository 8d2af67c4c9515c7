"""Debian's packages that tests need and this machine may lack."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_LIMIT_S = 600.0


def can_install() -> bool:
    """Whether packages can be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> str:
    """Installs packages, one caller after another, as apt-get locks out whoever comes second.

    Returns:
        Why it could not be done; "" where it was.
    """
    if not can_install():
        return "only root can, and with apt-get"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    wanted = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "-q", "--no-install-recommends", *packages]
    with (Path(tempfile.gettempdir()) / "fmnist_sweep-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = ""
        for command in (wanted, ["apt-get", "update", "-q"], wanted):
            try:
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired:
                return f"{command[0]} did not end within {_LIMIT_S:g} s"
            if command == wanted and done.returncode == 0:
                return ""
            said = done.stderr.strip()[-400:]
    return said
