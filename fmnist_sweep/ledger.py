"""The durable record of a study: an append-only list of events. Optuna and MLflow are views of it.

An event is on disk (SQLite, write-ahead log, fsync at each commit) before anything acts on it, and its
key makes it idempotent: the same thing told twice is recorded once. Each event has a checksum, as SQLite
notices a page that makes no sense, but not a figure that was altered.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_sweep import wal
from fmnist_sweep.errors import DamagedLedgerError, LedgerError

SCHEMA_VERSION = 2  # 1 had no checksums; a ledger of it gets them when it is opened

_BUSY_S = 30.0
_DAMAGED = "restore it from a backup, or start anew with --fresh, which keeps this one under another name"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program holds it; end that one, then the same command goes on",
    sqlite3.SQLITE_FULL: "free some room there, then the same command goes on",
    sqlite3.SQLITE_READONLY: "make the home folder one that can be written, then the same command goes on",
    sqlite3.SQLITE_IOERR: "once the disk can be written again, the same command goes on",
}

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        kind TEXT NOT NULL,
        job TEXT NOT NULL,
        place INTEGER NOT NULL,
        body TEXT NOT NULL,
        sum INTEGER NOT NULL,
        UNIQUE (kind, job, place)
    )""",
    "CREATE TABLE IF NOT EXISTS cursors (view TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
)
_COLUMNS = "seq, time, kind, job, place, body, sum"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, once.

    Attributes:
        seq: Its place in the ledger's order; numbers may be left out.
        time: Seconds since 1970.
        kind: What happened, as in ``asked``, ``report``, ``ended``.
        job: The job it happened to, or "" for the study itself.
        place: Tells apart the events of one kind of one job: a report point, an attempt.
        body: The particulars, plain JSON types.
    """

    seq: int
    time: float
    kind: str
    job: str
    place: int
    body: dict[str, Any]


class Ledger:
    """One study's events. Any thread of the one driver process may use it.

    A ledger of an older schema is brought up to date, in one transaction, when it is opened. One in a folder that
    can't be written can be read.

    Raises:
        DamagedLedgerError: The file holds something else than what was written.
        LedgerError: The file can't be opened, or is of a newer release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        if wal.damaged(path):
            raise damaged(path, f"{wal.log_of(path).name} hides events that were recorded")
        with self._told():
            writable = os.access(path.parent, os.W_OK)
            self._db = sqlite3.connect(
                path if writable else _unwritten(path),
                uri=not writable,
                timeout=_BUSY_S,
                check_same_thread=False,
                isolation_level=None,
            )
            try:
                if writable:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=FULL")
                found = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
                if found != "ok":
                    raise damaged(path, found.splitlines()[-1])
                self._bring_up_to_date()
            except BaseException:
                self._db.close()
                raise
        self._clock_start = time.time() - time.monotonic()

    def append(self, kind: str, job: str = "", place: int = 0, /, **body: Any) -> Event | None:
        """Records an event durably.

        Returns:
            The event, or None where one of that kind, job and place is recorded already.

        Raises:
            LedgerError: It could not be written; nothing was recorded.
            ValueError: ``job`` or ``place`` was given by name, which would make it part of the body.
        """
        if body.keys() & {"job", "place"}:
            raise ValueError(f"event {kind!r}: job and place are positional, not part of the body")
        now = self._clock_start + time.monotonic()  # a clock that is set back must not reorder events
        text = json.dumps(body, sort_keys=True)
        with self._lock, self._told():
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO events (time, kind, job, place, body, sum) VALUES (?, ?, ?, ?, ?, ?)",
                (now, kind, job, place, text, checksum(now, kind, job, place, text)),
            )
            if cursor.rowcount == 0:
                return None
            return Event(int(cursor.lastrowid or 0), now, kind, job, place, json.loads(text))

    def events(self, after: int = 0, limit: int = -1) -> list[Event]:
        """Events with ``seq`` above ``after``, in order, at most ``limit`` of them.

        Raises:
            DamagedLedgerError: One of them was altered.
        """
        with self._lock, self._told():
            query = f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            return [_event(row) for row in self._db.execute(query, (after, limit)).fetchall()]

    def last(self) -> int:
        """``seq`` of the last event; 0 before the first."""
        with self._lock, self._told():
            return int(self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM events").fetchone()[0])

    def cursor(self, view: str) -> int:
        """The last event that ``view`` has taken over; 0 for none."""
        with self._lock, self._told():
            row = self._db.execute("SELECT seq FROM cursors WHERE view = ?", (view,)).fetchone()
        return int(row[0]) if row else 0

    def advance(self, view: str, seq: int) -> None:
        """Remembers durably that ``view`` has taken over everything up to ``seq``."""
        with self._lock, self._told():
            self._db.execute(
                "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (view) DO UPDATE SET seq = excluded.seq", (view, seq)
            )

    def close(self) -> None:
        """Ends the use of the file."""
        with self._lock:
            self._db.close()

    def _bring_up_to_date(self) -> None:
        """Makes the tables of a new ledger, and gives those of an older release what this one adds."""
        if self._schema() == SCHEMA_VERSION:
            return
        self._db.create_function("event_sum", 5, checksum, deterministic=True)
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:  # ends the transaction, whichever way
            found = self._schema()  # another process may have done it meanwhile
            if found > SCHEMA_VERSION:
                raise LedgerError(
                    f"ledger {self._path} has schema {found}, this release knows up to {SCHEMA_VERSION}: upgrade"
                )
            for statement in _SCHEMA:
                self._db.execute(statement)
            if found == 1:
                self._db.execute("ALTER TABLE events ADD COLUMN sum INTEGER")
                self._db.execute("UPDATE events SET sum = event_sum(time, kind, job, place, body)")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))

    def _schema(self) -> int:
        """The version that the file says it has; 0 for a file without tables."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            return 0
        row = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # its lowest byte is what went wrong, the rest is where
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise damaged(self._path, str(error)) from error
            advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
            raise LedgerError(f"ledger {self._path}: {error}{advice}") from error
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path}: {error}") from error
        except ValueError as error:
            raise damaged(self._path, str(error)) from error


def _unwritten(path: Path) -> str:
    """SQLite's address of a ledger to be read where nothing can be written, not even a lock."""
    log = wal.log_of(path)
    return f"{path.resolve().as_uri()}?mode=ro{'' if log.exists() and log.stat().st_size else '&immutable=1'}"


def readable(path: Path) -> list[Event]:
    """What can still be read of a damaged ledger: its events up to the damage. The file is not changed."""
    found: list[Event] = []
    with (
        suppress(sqlite3.Error, ValueError),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as db,
    ):
        for row in db.execute("SELECT * FROM events ORDER BY seq"):
            found.append(_event(row))  # noqa: PERF401  what came before an error is wanted
    return found


def checksum(time: float, kind: str, job: str, place: int, body: str) -> int:
    """CRC-32 of an event as it is stored; tells every altered byte."""
    return zlib.crc32(f"{time!r}\n{kind}\n{job}\n{place}\n{body}".encode())


def _event(row: tuple[Any, ...]) -> Event:
    """An event as it is stored.

    ``row`` has no checksum in a ledger of schema 1, and an empty one where a driver of the older release went on
    writing after this release had opened its ledger.
    """
    seq, when, kind, job, place, body, *sum_ = row
    if sum_ and sum_[0] is not None and sum_[0] != checksum(when, kind, job, place, body):
        raise ValueError(f"event {seq} was altered")
    return Event(seq, when, kind, job, place, json.loads(body))


def damaged(path: Path, what: str) -> DamagedLedgerError:
    """The error that says what is wrong with a ledger, and what helps."""
    return DamagedLedgerError(f"ledger {path} is damaged ({what}); {_DAMAGED}")
