"""What servers spend while a block runs: processor time, requests, SQL statements, bytes written."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

from benchmarks.postgres import Postgres

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET = "pg_stat_statements"  # its own statements, and those that ask for it


class Meters:
    """Read when its block begins and when it ends; ``spent`` is the difference.

    Args:
        postgres: The cluster; its extension ``pg_stat_statements`` is in the database.
        database: The one that is looked at.
        server: Process group of the other server.
    """

    def __init__(self, postgres: Postgres, database: str, server: int) -> None:
        self._postgres, self._database, self._server = postgres, database, server
        self._requests = 0
        self._before: dict[str, float] = {}
        self.spent: dict[str, float] = {}

    def __enter__(self) -> Meters:
        import requests

        send = requests.Session.send

        def counted(session: Any, *words: Any, **named: Any) -> Any:
            self._requests += 1
            return send(session, *words, **named)

        self._patch = mock.patch.object(requests.Session, "send", counted)
        self._patch.start()
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.stop()
        now = self._read()
        self.spent = {name: value - self._before[name] for name, value in now.items()}

    def _read(self) -> dict[str, float]:
        """All meters; PostgreSQL's are asked last before the block and first after it, clocks the other way round."""
        wall, own = time.perf_counter(), time.process_time()
        rows = self._postgres.execute(
            self._database,
            "SELECT (SELECT SUM(calls) FROM pg_stat_statements JOIN pg_database ON oid = dbid "
            f"WHERE datname = current_database() AND query NOT LIKE '%{_QUIET}%'), "
            "(SELECT pg_current_wal_insert_lsn() - '0/0'), pg_database_size(current_database())",
        )
        statements, wal, size = (float(value or 0) for value in rows[0])
        return {
            "wall_s": wall,
            "own_cpu_s": own,
            "requests": float(self._requests),
            "statements": statements,
            "wal_bytes": wal,
            "database_bytes": size,
            "server_cpu_s": cpu_s(group=self._server),
            "postgres_cpu_s": cpu_s(parent=self._postgres.pid),
        }


def cpu_s(group: int = -1, parent: int = -1) -> float:
    """Processor seconds so far of a process group, or of a process with its children, ended ones included."""
    total = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = place.read_text().partition(" ")
        except OSError:
            continue  # it has just ended
        fields = rest.rpartition(")")[2].split()
        ppid, pgrp, own, ended = int(fields[1]), int(fields[2]), fields[11:13], fields[13:15]
        leads = int(pid) in (group, parent)
        if leads or pgrp == group or ppid == parent:
            total += sum(map(int, own)) + (sum(map(int, ended)) if leads or pgrp == group else 0)
    return total / _TICKS
