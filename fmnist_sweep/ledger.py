"""The durable record of a study: an append-only list of events. Optuna and MLflow are views of it.

An event is on disk (SQLite, write-ahead log, fsync at each commit) before anything acts on it, and its
key makes it idempotent: the same thing told twice is recorded once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_sweep.errors import LedgerError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    job TEXT NOT NULL,
    place INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, job, place)
);
CREATE TABLE IF NOT EXISTS cursors (view TEXT PRIMARY KEY, seq INTEGER NOT NULL);
"""


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

    Raises:
        LedgerError: The file can't be opened, is damaged, or is of a newer release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._told():
            self._db = sqlite3.connect(path, timeout=30.0, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            if self._db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise LedgerError(f"ledger {path} is damaged; restore it from a backup, or start anew with --fresh")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            found = int(self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise LedgerError(f"ledger {path} has schema {found}, this release knows up to {SCHEMA_VERSION}: upgrade")
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
                "INSERT OR IGNORE INTO events (time, kind, job, place, body) VALUES (?, ?, ?, ?, ?)",
                (now, kind, job, place, text),
            )
            if cursor.rowcount == 0:
                return None
            return Event(int(cursor.lastrowid or 0), now, kind, job, place, json.loads(text))

    def events(self, after: int = 0, limit: int = -1) -> list[Event]:
        """Events with ``seq`` above ``after``, in order, at most ``limit`` of them."""
        with self._lock, self._told():
            rows = self._db.execute(
                "SELECT seq, time, kind, job, place, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
            return [Event(seq, when, kind, job, place, json.loads(body)) for seq, when, kind, job, place, body in rows]

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

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise LedgerError(f"ledger {self._path}: {error}") from error
