"""What this process may use of the machine: cores, and by its control groups less of them and of the memory.

A container or a job of a cluster's scheduler sees all cores and all memory of its machine; what it may have of them
stands in ``cpu.max`` and ``memory.max`` of its control group and the groups around it, or, in version 1, in
``cpu.cfs_quota_us`` and ``memory.limit_in_bytes`` (Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpus(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """How many cores' time this process may take: at least 1, at most ``usable_cores``."""
    found = [len(usable_cores())]
    for folder in _groups_around(proc, groups, "cpu"):
        quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not quota:
            quota, period = ("".join(_words(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) // int(period))
    return max(1, min(found))


def memory_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """How much memory this process may have."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _groups_around(proc, groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += [int(word) for word in _words(folder / name) if word.isdecimal()]
    return min(found)


def _groups_around(proc: Path, groups: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, the innermost first."""
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = [*line.split(":", 2), "none", ""][:3]
            if controllers == "":
                top = groups
            elif controller in controllers.split(","):
                top = groups / controller
            else:
                continue
            inside = top / group.strip("/")
            yield from (folder for folder in (inside, *inside.parents) if folder == top or top in folder.parents)


def _words(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().split()
    return []
