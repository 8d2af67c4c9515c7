"""What the kernel does for workers: ends them with their parent, and counts whom it ends for want of memory.

A worker that it ended for want of memory and one that somebody killed both end by SIGKILL.

The kernel counts whom it ends so, for each control group (``oom_kill`` in ``memory.events.local``; before Linux 5.2
in ``memory.events``, which counts groups within the group too; or in ``memory.oom_control`` of version 1) and for the
whole machine (``oom_kill`` in ``/proc/vmstat``, which counts where the group has no counter). If the counter rose while
a worker ran, and no other death accounts for it, the worker's death is put down to memory.

The limits of that. The counter doesn't name the process: where a worker is killed by hand after the kernel ended
another process of the same group, it is taken for the kernel's victim. A program that watches over memory from outside
the kernel (systemd-oomd, earlyoom) sends SIGKILL like anybody else, and macOS has no such counter: such a worker is
taken up again, as often as any that dies.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_GOES_FIRST = "500"
_PR_SET_PDEATHSIG = 1


class Kills:
    """Puts deaths down to the kernel.

    Args:
        proc: Where the kernel tells of processes.
        groups: Where control groups are mounted.
    """

    def __init__(self, proc: Path = _PROC, groups: Path = _GROUPS) -> None:
        self._counter = _counter(proc, groups)
        self._explained = 0

    def count(self) -> int:
        """How many processes the kernel has ended for want of memory; 0 where it doesn't tell."""
        if self._counter is None:
            return 0
        with suppress(OSError):
            for line in self._counter.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0

    def explain(self, before: int) -> bool:
        """Whether a death is the kernel's doing; each of its kills explains one death.

        Args:
            before: ``count`` from before the worker was started.
        """
        explained = max(before, self._explained)
        if self.count() <= explained:
            return False
        self._explained = explained + 1
        return True


def go_first() -> None:
    """Lets the kernel choose this process before the driver, and before others, where memory runs out."""
    with suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text(_GOES_FIRST)


def die_with_parent() -> None:
    """Lets the kernel end this process when its parent ends; a halted process could not do it itself."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _counter(proc: Path, groups: Path) -> Path | None:
    """The file with the counter of this process's group, else of the machine; None where there is none."""
    found = []
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            inside = group.strip("/")
            if controllers == "":
                places = (groups / inside, groups)
                found += [place / f"memory.events{end}" for place in places for end in (".local", "")]
            elif "memory" in controllers.split(","):
                of_memory = groups / "memory"
                found += [of_memory / inside / "memory.oom_control", of_memory / "memory.oom_control"]
    for path in (*found, proc / "vmstat"):
        with suppress(OSError):
            if "oom_kill " in path.read_text():
                return path
    return None
