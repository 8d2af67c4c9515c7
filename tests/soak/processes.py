"""The processes of a soak, found by a mark in their environment, and the signals that they get."""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "SOAK_MARK"


@dataclass(frozen=True, slots=True)
class Process:
    """One process that has not ended.

    Attributes:
        pid: Its number.
        parent: Its parent's.
        group: Of its process group.
        command: Its command line.
    """

    pid: int
    parent: int
    group: int
    command: str


def new_mark() -> str:
    """A mark that no other process has, set for all that this process starts from now on."""
    os.environ[MARK] = secrets.token_hex(8)
    return os.environ[MARK]


def marked(mark: str) -> list[Process]:
    """All living processes that were started, at first or second hand, with this mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError, IndexError, ValueError):
                if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                state, parent, group = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:3]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state != "Z":
                    found.append(Process(int(folder.name), int(parent), int(group), command))
    return found


def fork_servers(all_: list[Process], driver: int) -> list[int]:
    """The driver's fork server, once it is there."""
    return [it.pid for it in all_ if it.parent == driver and "forkserver" in it.command]


def workers(all_: list[Process], driver: int) -> list[int]:
    """What the driver's fork server has forked: workers, and who logs models; oldest first."""
    servers = fork_servers(all_, driver)
    return sorted(it.pid for it in all_ if it.parent in servers)


def send(pid: int, number: signal.Signals, *, group: bool = False) -> bool:
    """Sends a signal; False if nobody was there any more."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True
