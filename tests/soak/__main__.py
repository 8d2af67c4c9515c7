"""``python -m tests.soak --rounds N --seed S --out FILE``, or ``make soak``: a round is one fault in a real sweep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.soak.rounds import Asked, soak


def main(words: Sequence[str] | None = None) -> int:
    """Runs the soak; 1 if anything was lost, doubled, torn or left."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=20, metavar="N", help="faults to inject (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="S", help="of what is done, to whom and when (default: %(default)s)")
    add("--out", type=Path, default=Path("soak.json"), metavar="FILE", help="result; a table goes to FILE's .md")
    add(
        "--home",
        type=Path,
        metavar="DIR",
        help="where to work and leave all; by default a folder that goes if all is well",
    )
    add("--data-dir", type=Path, metavar="DIR", help="where the data set is")
    given = parser.parse_args(words)
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}; valid: a whole number from 1")
    result = soak(
        Asked(given.rounds, given.seed, given.home, given.data_dir), lambda line: print(line, file=sys.stderr)
    )
    result.write(given.out)
    print(result.markdown())
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
