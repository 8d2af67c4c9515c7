"""A home folder that was moved or copied: its MLflow store has full paths of artifacts, which are somewhere else now.

MLflow has no call for it, so the store's database is brought up to date before MLflow opens it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fmnist_sweep.home import Home
from fmnist_sweep.sqlite_birth import file_of

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
_PATIENCE_S = 30.0


def follow(uri: str) -> int:
    """Points the store of a home folder at the artifacts in that folder.

    Each of its experiments has a folder of its own there. One whose folder is not there stays as it is as long as the
    place that it names exists: the study is of another home, which shares this store.

    Args:
        uri: Of any tracking server.

    Returns:
        How many experiments had been somewhere else.

    Raises:
        sqlite3.Error: The store is no such database, or is locked for half a minute.
    """
    store = file_of(uri)
    if store is None or not store.exists() or not Home(store.parent).is_one:
        return 0
    root = Home(store.parent.resolve()).artifacts
    with closing(sqlite3.connect(store, timeout=_PATIENCE_S)) as db, db:
        known = {table for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in known:
            return 0
        moved = [it for (at,) in db.execute("SELECT artifact_location FROM experiments") for it in _moved(at, root)]
        for old, new in moved:
            for table, column in _PLACES:
                db.execute(
                    f"UPDATE {table} SET {column} = ? || SUBSTR({column}, ?) "
                    f"WHERE {column} = ? OR SUBSTR({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
    return len(moved)


def _moved(location: str | None, root: Path) -> list[tuple[str, str]]:
    """The old and the new location of an experiment's artifacts, if they are not the same."""
    if not location or urlsplit(location).scheme != "file":
        return []
    old = Path(unquote(urlsplit(location).path))
    new = root / old.name
    if old.parent.name != root.name or old == new or not (new.is_dir() or not old.parent.exists()):
        return []
    return [(location, new.as_uri())]
