"""SQLite databases of other libraries that are whole from the first moment.

A library that makes its tables one by one leaves half a database if it is killed on the way, and then can't
open it again. So it makes them under another name, and the file gets its own once it is complete.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fmnist_sweep import durable

_PREFIX = "sqlite:///"


def file_of(uri: str) -> Path | None:
    """The file of an SQLite address; None for other databases and for one in memory."""
    path = uri.removeprefix(_PREFIX).partition("?")[0]
    return Path(path) if uri.startswith(_PREFIX) and path and not path.startswith((":", "file:")) else None


def at(uri: str, path: Path) -> str:
    """The address of another SQLite file, with the same options."""
    _, mark, options = uri.partition("?")
    return f"{_PREFIX}{path}{mark}{options}"


def born(uri: str, make: Callable[[str], object]) -> None:
    """Sees to it that the database at ``uri`` exists; ``make`` is called with another address to make it at."""
    path = file_of(uri)
    if path is None or path.exists():
        return
    unborn = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        make(at(uri, unborn))
        with suppress(FileExistsError):  # another process was faster, and may have written to its own
            os.link(unborn, path)
    finally:
        unborn.unlink(missing_ok=True)
    durable.sync_folder(path.parent)
