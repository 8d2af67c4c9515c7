"""Opens Optuna's storage, patiently where it may come up, and with no connection that could hang for hours."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import StorageError, UsageError
from fmnist_sweep.sqlite_birth import born

_LIBPQ = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
# A line that is cut says nothing: by itself it would be noticed after a quarter of an hour.
_CUT = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "fmnist_sweep",
}
# What passes by itself: a server that restarts, a lock, and two processes that make the tables at the same time.
_PASSING = (
    "refused",
    "starting up",
    "shutting down",
    "in recovery mode",
    "timeout expired",
    "timed out",
    "closed the connection",
    "terminating connection",
    "database is locked",
    "already exists",
    "duplicate key",
    "UNIQUE constraint failed",
)
_PAUSE_S = 1.0
_VALID = "valid: sqlite:///FILE, postgresql://USER@HOST/DATABASE, or another that SQLAlchemy knows"


def storage_at(uri: str, patience_s: float = 30.0) -> BaseStorage:
    """The storage at an address, with its tables.

    Args:
        uri: SQLAlchemy's address of it.
        patience_s: Seconds to wait for a database that is away or being set up by another process.

    Raises:
        UsageError: No such kind of address.
        StorageError: It can't be used, or didn't come up in time.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            born(uri, RDBStorage)
            return optuna.storages.get_storage(RDBStorage(uri, engine_kwargs=_engine(uri)))
        except (ArgumentError, NoSuchModuleError) as error:
            raise UsageError(f"--storage {masked(uri)}: {line(error)}; {_VALID}") from None
        except ImportError as error:
            raise StorageError(f"--storage {masked(uri)}: {_advice(uri, error)}") from None
        except Exception as error:
            if time.monotonic() >= deadline or not any(sign in str(error) for sign in _PASSING):
                raise StorageError(f"--storage {masked(uri)} can't be opened: {line(error)}") from None
            time.sleep(_PAUSE_S)


def line(error: Exception) -> str:
    """An error in one line, without a password: the database's, where Optuna's own only guesses."""
    inner = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return masked((str(inner).strip().splitlines() or [type(inner).__name__])[0])


def _engine(uri: str) -> dict[str, Any]:
    if urlsplit(uri).scheme not in _LIBPQ:
        return {}
    # Asked first whether it is alive, a connection from before a restart is replaced without an error. One is kept
    # open, as a team's server has a hundred to give.
    return {"pool_pre_ping": True, "pool_size": 1, "connect_args": _CUT}


def _advice(uri: str, error: Exception) -> str:
    if isinstance(error, ImportError) and urlsplit(uri).scheme in _LIBPQ:
        return "PostgreSQL needs the package psycopg; valid: pip install 'fmnist-sweep[postgres]'"
    return line(error)
