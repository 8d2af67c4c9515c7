"""Prints, one a line, what an image needs of pyproject.toml.

An image installs these before the project's own code comes in, so a change of code leaves TensorFlow's layer alone.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path


def requirements(project: Path, only: Sequence[str], extras: Sequence[str]) -> list[str]:
    """The project's dependencies, or those named in ``only``, and those of its extras.

    Raises:
        SystemExit: The project has no such dependency or extra.
    """
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    by_name = {_name(line): line for line in table["dependencies"]}
    optional = table["optional-dependencies"]
    unknown = [*(name for name in only if name not in by_name), *(name for name in extras if name not in optional)]
    if unknown:
        raise SystemExit(f"{project} has no {', '.join(unknown)}; valid: {', '.join([*by_name, *optional])}")
    chosen = [by_name[name] for name in only] if only else list(by_name.values())
    return chosen + [line for name in extras for line in optional[name]]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def main() -> None:
    """Prints the requirements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("project", type=Path, metavar="PYPROJECT", help="the file pyproject.toml")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these of the dependencies, not all")
    parser.add_argument("--extras", nargs="*", default=[], metavar="NAME", help="those of these extras too")
    given = parser.parse_args()
    print("\n".join(requirements(given.project, given.only, given.extras)))


if __name__ == "__main__":
    main()
