"""Keeps commands that change a whole database from running at the same time, wherever they run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from mlflow_server.database import Database
from mlflow_server.errors import ServerError

_NUMBER = 0x6D6C666C6F77  # any number that nothing else locks


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Waits for a lock that goes with this process, however it ends; SQLite's folder is made if need be."""
    if database.kind == "postgresql":
        with closing(database.connect()) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_NUMBER,))
            yield
        return
    try:
        database.file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(database.file.with_name(f".{database.file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServerError(f"the folder of {database.file} can't be written: {error.strerror or error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
