"""Other processes: how they are started, and what the kernel says that they used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import GIVEN, ROOT
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors.kernel import die_with_parent

_TICK_S = 0.05
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended.

    Attributes:
        wall_s: Seconds from its start to its end.
        cpu_s: Processor seconds of the process and of those it waited for; workers are not among them.
        code: Its exit code; negative for the signal that ended it.
        stdout: What it printed.
        stopped: Whether it was ended because its time was over.
    """

    wall_s: float
    cpu_s: float
    code: int
    stdout: str
    stopped: bool = False


def run(
    words: Sequence[str],
    folder: Path,
    *,
    limit_s: float | None = None,
    look: Callable[[int], None] = lambda _pid: None,
) -> Ran:
    """Runs ``python -m words`` in ``folder``, with its output in ``stdout.txt`` and ``stderr.txt`` there.

    Args:
        words: The module and its arguments.
        folder: Made if it is not there.
        limit_s: Seconds after which it is ended.
        look: Called about twenty times a second with the process's number.

    Raises:
        FatalError: It failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**GIVEN, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=environment,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=die_with_parent,  # two of one peer would share its folder, and the cores
        )
        code, cpu_s, stopped = _wait(process.pid, began, limit_s, look)
        process.returncode = code  # it is waited for already
    if code and not stopped:
        last = err.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise FatalError(f"{' '.join(words)} ended with code {code}: {last[0]} (see {err})")
    return Ran(time.perf_counter() - began, cpu_s, code, out.read_text(errors="replace"), stopped)


def _wait(pid: int, began: float, limit_s: float | None, look: Callable[[int], None]) -> tuple[int, float, bool]:
    """Waits for a child; ends it, gently and then not, once its time is over or this process is interrupted."""
    stopped_at: float | None = None
    try:
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, stopped_at is not None
            now = time.perf_counter()
            if stopped_at is None and limit_s is not None and now - began > limit_s:
                stopped_at = now
                os.kill(pid, signal.SIGTERM)
            elif stopped_at is not None and now - stopped_at > _PATIENCE_S:
                os.kill(pid, signal.SIGKILL)
            look(pid)
            time.sleep(_TICK_S)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def memory_bytes(pid: int) -> int:
    """Resident memory of a process; 0 once it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
