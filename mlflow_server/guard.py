"""Runs a server as a child: passes signals on, and ends it when whoever started it is gone.

Uses nothing but the standard library, so that this extra process is small and starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType

GRACE_S = 5.0


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Runs the command until it ends; SIGTERM and SIGINT are passed on to it.

    Returns:
        The command's exit code, or 128 plus the number of the signal that ended it.
    """
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)
        if not children:
            early.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    children.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
    for missed in early:  # came while the child was being started
        children[0].send_signal(missed)
    code = children[0].wait()
    return code if code >= 0 else 128 - code


def _end_with_stdin() -> None:
    """Ends this process group once the other end of standard input is closed, as it is when its holder dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Runs the command in the arguments, as the leader of its own process group, until standard input closes."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
