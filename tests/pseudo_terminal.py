"""A program in a real pseudo-terminal, and its screen as a terminal draws it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyte

PATIENCE_S = 120.0
ROWS = 40


@dataclass
class Terminal:
    """A program in a pseudo-terminal, and its screen."""

    program: subprocess.Popen[bytes]
    file: int
    screen: pyte.Screen
    stream: pyte.ByteStream

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def read_until(self, words: str, without: str = "") -> None:
        """Draws what the program writes until ``words`` are on the screen, or to its end where ``words`` is "".

        With ``without``, until those words have gone from it, too: a screen that is being drawn holds old and new.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not (words and words in self.text and not (without and without in self.text)):
            assert time.monotonic() < deadline, "\n".join(self.lines)
            if select.select([self.file], [], [], 1.0)[0]:
                try:
                    found = os.read(self.file, 65_536)
                except OSError:  # Linux says so at the end
                    found = b""
                if not found:
                    assert not words, "\n".join(self.lines)
                    return
                self.stream.feed(found)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def cursor_hidden(self) -> bool:
        return bool(self.screen.cursor.hidden)

    def type(self, keys: bytes) -> None:
        os.write(self.file, keys)


@contextmanager
def terminal(
    words: Sequence[str], columns: int = 80, rows: int = ROWS, folder: Path | None = None, **environment: str
) -> Iterator[Terminal]:
    """Runs a program in a terminal of that size; it is killed at the end, if it still runs."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    program = subprocess.Popen(
        words,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **environment},
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    screen = pyte.Screen(columns, rows)
    try:
        yield Terminal(program, ours, screen, pyte.ByteStream(screen))
    finally:
        program.kill()
        program.wait()
        os.close(ours)


def _take_terminal() -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell ignores in what it runs in the background
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
