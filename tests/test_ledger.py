"""The ledger: what it acknowledged is there, once, in order, whatever happened."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.errors import LedgerError
from fmnist_sweep.ledger import SCHEMA_VERSION, Event, Ledger

APPEND_FOR_EVER = """
import itertools, sys
from pathlib import Path
from fmnist_sweep.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]))
for number in itertools.count():
    event = ledger.append("report", "job", number, value=number)
    print(event.seq, number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path)
    yield opened
    opened.close()


def reopened(ledger: Ledger, path: Path) -> list[Event]:
    ledger.close()
    again = Ledger(path)
    try:
        return again.events()
    finally:
        again.close()


def test_events_come_back_as_they_were_appended(ledger: Ledger, path: Path) -> None:
    body = {"text": "ä\n", "number": 0.1 + 0.2, "list": [1, None, True], "inner": {"a": {}}}
    told = [ledger.append("study", **body), ledger.append("asked", "trial-0000"), ledger.append("report", "x", 3, v=1)]
    assert [event.seq for event in told if event] == [1, 2, 3]
    assert told[0] is not None
    assert told[0].body == body
    assert ledger.events() == told
    assert ledger.events(after=1) == told[1:]
    assert ledger.events(after=1, limit=1) == told[1:2]
    assert ledger.events(after=3) == []
    assert reopened(ledger, path) == told


def test_the_same_thing_told_twice_is_recorded_once(ledger: Ledger) -> None:
    first = ledger.append("report", "a", 0, value=1)
    assert ledger.append("report", "a", 0, value=2) is None
    others = [ledger.append("report", "a", 1), ledger.append("report", "b", 0), ledger.append("ended", "a", 0)]
    assert None not in others
    assert ledger.events() == [first, *others]


@pytest.mark.parametrize("name", ["job", "place"])
def test_job_and_place_are_not_part_of_the_body(ledger: Ledger, name: str) -> None:
    body: dict[str, Any] = {name: 1}
    with pytest.raises(ValueError, match="positional"):
        ledger.append("report", **body)
    assert ledger.events() == []


def test_each_view_has_its_cursor(ledger: Ledger, path: Path) -> None:
    assert ledger.cursor("MLflow") == 0
    ledger.advance("MLflow", 3)
    ledger.advance("MLflow", 5)
    ledger.advance("Optuna", 1)
    ledger.close()
    again = Ledger(path)
    assert [again.cursor(view) for view in ("MLflow", "Optuna", "none")] == [5, 1, 0]
    again.close()


def test_what_a_killed_process_acknowledged_is_there(path: Path) -> None:
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(50)]
        writer.kill()
        lines += writer.stdout.readlines()
    acknowledged = [(int(seq), int(number)) for seq, number in (line.split() for line in lines)]
    assert len(acknowledged) >= 50
    again = Ledger(path)
    found = [(event.seq, event.place) for event in again.events()]
    again.close()
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1


def test_threads_that_tell_the_same_are_believed_once(ledger: Ledger) -> None:
    told: list[list[Event | None]] = [[], []]
    start = threading.Barrier(2)

    def tell(mine: list[Event | None]) -> None:
        start.wait()
        mine += [ledger.append("report", "job", place) for place in range(100)]

    threads = [threading.Thread(target=tell, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((one is None) != (other is None) for one, other in zip(*told, strict=True))
    assert sorted(event.place for event in ledger.events()) == list(range(100))


def test_a_clock_that_is_set_back_does_not_reorder(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append("report", "job", 0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    ledger.append("report", "job", 1)
    times = [event.time for event in ledger.events()]
    assert times == sorted(times)
    ledger.close()
    later = Ledger(path)
    later.append("report", "job", 2)
    assert [event.place for event in later.events()] == [0, 1, 2]
    later.close()


# Files that can't be used


@pytest.mark.parametrize("how", ["not a database", "truncated", "a page of rubbish"])
def test_a_damaged_file_is_refused(ledger: Ledger, path: Path, how: str) -> None:
    for place in range(300):
        ledger.append("report", "job", place, text="x" * 50)
    ledger.close()
    whole = path.read_bytes()
    rubbish = whole[:4096] + b"\xa5" * 8192 + whole[12288:]
    path.write_bytes({"not a database": b"text" * 1000, "truncated": whole[:8000]}.get(how, rubbish))
    with pytest.raises(LedgerError, match=str(path)):
        Ledger(path)


def test_a_damaged_body_is_refused(ledger: Ledger, path: Path) -> None:
    ledger.append("report", "job", 0, text="needle")
    ledger.close()
    path.write_bytes(path.read_bytes().replace(b'{"text": "needle"}', b'{"text": "needle" '))
    with pytest.raises(LedgerError, match=str(path)):
        Ledger(path).events()


def test_a_ledger_of_a_newer_release_is_refused(ledger: Ledger, path: Path) -> None:
    ledger.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = ?", (str(SCHEMA_VERSION + 1),))
    db.close()
    with pytest.raises(LedgerError, match=f"schema {SCHEMA_VERSION + 1}.*upgrade"):
        Ledger(path)


def test_a_ledger_that_can_not_be_opened_or_was_closed(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        Ledger(tmp_path / "none" / "ledger.db")
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append("report")


@pytest.mark.parametrize("running", [False, True])
def test_a_ledger_is_read_where_nothing_may_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    writer = Ledger(path)
    told = writer.append("study", title="mine")
    if not running:
        writer.close()
    there = set(path.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)
    reader = Ledger(path)
    assert reader.events() == [told]
    with pytest.raises(LedgerError, match="readonly database; make the home folder one that can be written"):
        reader.append("session")
    reader.close()
    assert set(path.parent.iterdir()) == there
    writer.close()
