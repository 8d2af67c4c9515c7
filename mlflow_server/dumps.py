"""One database in one file, as it was at one moment, while the server goes on writing to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

from mlflow_server.database import Database
from mlflow_server.errors import ServerError


def dump(database: Database, file: Path) -> None:
    """Writes the database to ``file``: PostgreSQL by ``pg_dump`` in its own format, SQLite as a database again.

    Raises:
        ServerError: It can't be read.
    """
    if database.kind == "postgresql":
        words = ["--format=custom", "--no-owner", "--no-privileges", f"--file={file}"]
        _program("pg_dump", [*words, f"--dbname={database.libpq_uri}"], database)
        return
    database.ask()
    try:
        with closing(sqlite3.connect(database.file)) as source, closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
            sound = copy.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise ServerError(f"SQLite: {database.file} can't be read: {error}") from None
    if sound != "ok":
        raise ServerError(f"SQLite: {database.file} is damaged: {sound}")


def load(database: Database, file: Path) -> None:
    """Fills an empty database from what ``dump`` wrote, wholly or not at all.

    Raises:
        ServerError: It can't be filled.
    """
    if database.kind == "postgresql":
        words = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
        _program("pg_restore", [*words, f"--dbname={database.libpq_uri}", str(file)], database)
        return
    part = database.file.with_name(f".{database.file.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, part)
        part.replace(database.file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ServerError(f"SQLite: {database.file} can't be written: {error.strerror or error}") from None


def check_empty(database: Database) -> None:
    """Refuses a database that holds something.

    Raises:
        ServerError: It does, or gives no access.
    """
    tables = database.tables()
    if tables:
        shown = ", ".join(tables[:3]) + (" …" if len(tables) > 3 else "")
        raise ServerError(f"the database is not empty ({shown}); valid: a new one")


def _program(name: str, words: list[str], database: Database) -> None:
    """Runs one of PostgreSQL's programs; the password goes by the environment."""
    done = subprocess.run(
        [_path(name), "--no-password", *words],
        env={**os.environ, **database.environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ServerError(f"{name}: {lines[0].removeprefix(f'{name}: ')}")


def _path(name: str) -> str:
    """The newest installed, as an older one does not read a newer server."""
    found = [path for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}") if path.parts[4].isdecimal()]
    newest = max(found, key=lambda path: int(path.parts[4]), default=None)
    there = str(newest) if newest else shutil.which(name)
    if there is None:
        raise ServerError(f"there is no {name}; valid: install PostgreSQL's client programs (postgresql-client)")
    return there
