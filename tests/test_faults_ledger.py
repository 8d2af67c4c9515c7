"""A ledger that is damaged, locked, of an older release or on a full disk: never read as good, and said in one line."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep import ledger as ledgers
from fmnist_sweep import study, wal
from fmnist_sweep.errors import DamagedLedgerError, LedgerError
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import SCHEMA_VERSION, Event, Ledger, readable
from tests.faults import full_disk, tiny_disk

# Writes events and never ends: whoever kills it finds the log of what was not yet taken over into the database.
WRITER = """
import sys, time
from pathlib import Path
from fmnist_sweep.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    ledger.append("report", "job", number, value=number / 7, text="x" * 200)
print("written", flush=True)
time.sleep(600)
"""
HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""
EVENTS = 12


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Database and log as a writer leaves them that is ended by SIGKILL."""
    path = tmp_path_factory.mktemp("killed") / "ledger.db"
    command = [sys.executable, "-c", WRITER, str(path), str(EVENTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.kill()
    return path.read_bytes(), wal.log_of(path).read_bytes()


def laid_out(folder: Path, database: bytes, log: bytes) -> Path:
    path = folder / "ledger.db"
    path.write_bytes(database)
    wal.log_of(path).write_bytes(log)
    wal.log_of(path).with_name("ledger.db-shm").unlink(missing_ok=True)
    return path


def read(path: Path) -> list[Event]:
    with closing(Ledger(path)) as ledger:
        return ledger.events()


def whole(path: Path, events: int = 200) -> Path:
    """A ledger that was closed, so that all of it is in one file."""
    with closing(Ledger(path)) as ledger:
        ledger.append("study", id="abc", name="mine")
        for place in range(events):
            ledger.append("report", "job", place, value=place / 7, text="x" * 100)
    return path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], bytes]:
    """Events, and the file that holds them all."""
    path = whole(tmp_path_factory.mktemp("closed") / "ledger.db", 30)
    return read(path), path.read_bytes()


# Damage


def test_what_a_killed_writer_left_is_whole(killed: tuple[bytes, bytes], tmp_path: Path) -> None:
    path = laid_out(tmp_path, *killed)
    assert [event.place for event in read(path)] == list(range(EVENTS))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda log: os.urandom(len(log)), id="rubbish"),
        pytest.param(lambda log: bytes(len(log)), id="zeros"),
        pytest.param(lambda log: b"\0" * 16 + log[16:], id="no beginning"),
        pytest.param(lambda log: log[: len(log) // 2] + bytes(4096) + log[len(log) // 2 + 4096 :], id="a hole"),
    ],
)
def test_a_damaged_log_is_refused_and_left_as_it_is(
    killed: tuple[bytes, bytes], tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    database, log = killed
    path = laid_out(tmp_path, database, harmed := harm(log))
    for _ in range(2):
        with pytest.raises(DamagedLedgerError, match=r"ledger.db-wal hides events.*--fresh"):
            Ledger(path)
    assert wal.log_of(path).read_bytes() == harmed


@pytest.mark.parametrize("byte", range(8, 16))
def test_an_altered_salt_hides_nothing(killed: tuple[bytes, bytes], tmp_path: Path, byte: int) -> None:
    """SQLite takes such a frame for one left over, and what comes after it too."""
    database, log = killed
    page_bytes = int.from_bytes(log[8:12], "big")
    starts = range(32, len(log), 24 + page_bytes)
    last_but_one = [start for start in starts if log[start + 4 : start + 8] != bytes(4)][-2]
    altered = bytearray(log)
    altered[last_but_one + byte] ^= 1
    with pytest.raises(DamagedLedgerError, match="hides events"):
        Ledger(laid_out(tmp_path, database, bytes(altered)))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_altered_byte_of_the_log_is_noticed_or_changes_nothing_but_the_last_event(
    killed: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    database, log = killed
    altered = bytearray(log)
    altered[data.draw(st.integers(0, len(log) - 1))] ^= data.draw(st.integers(1, 255))
    path = laid_out(tmp_path_factory.mktemp("altered"), database, bytes(altered))
    try:
        found = read(path)
    except DamagedLedgerError:
        return
    assert [event.place for event in found] in (list(range(EVENTS)), list(range(EVENTS - 1)))
    assert all(event.body["value"] == event.place / 7 for event in found)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_altered_byte_of_the_database_is_noticed_or_changes_nothing(
    closed: tuple[list[Event], bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good, content = closed
    altered = bytearray(content)
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    path = laid_out(tmp_path_factory.mktemp("altered"), bytes(altered), b"")
    try:
        found = read(path)
    except LedgerError:
        return
    assert found == good


@pytest.mark.parametrize("kept", [1, 3])
def test_a_database_that_was_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    path = whole(tmp_path / "ledger.db")
    path.write_bytes(path.read_bytes()[: kept * 4096])
    with pytest.raises(DamagedLedgerError, match="restore it from a backup"):
        Ledger(path)


def test_a_figure_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = whole(tmp_path / "ledger.db")
    content = path.read_bytes()
    figure = json.dumps(5 / 7).encode()
    assert figure in content
    path.write_bytes(content.replace(figure, figure[:-1] + b"9"))
    with pytest.raises(DamagedLedgerError, match="event 7 was altered"):
        read(path)
    assert [event.seq for event in readable(path)] == list(range(1, 7))


def test_an_empty_ledger_beside_trained_jobs_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.ledger.write_bytes(b"")
    study.opened(folder).close()
    folder.job("trial-0000").mkdir(parents=True)
    folder.ledger.write_bytes(b"")
    with pytest.raises(DamagedLedgerError, match="it is empty, though jobs were trained"):
        study.opened(folder)


# Older and newer releases


def older(path: Path) -> None:
    """A ledger as the release before checksums wrote it."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("""
            PRAGMA journal_mode=WAL;
            CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE events (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL,
                place INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (kind, job, place));
            CREATE TABLE cursors (view TEXT PRIMARY KEY, seq INTEGER NOT NULL);
            INSERT INTO meta VALUES ('schema', '1');
            INSERT INTO cursors VALUES ('MLflow', 2);
        """)
        rows = [(1e9 + place / 3, "report", "job", place, json.dumps({"value": place / 7})) for place in range(5)]
        db.executemany("INSERT INTO events (time, kind, job, place, body) VALUES (?, ?, ?, ?, ?)", rows)


def test_a_ledger_of_the_previous_release_opens_and_is_brought_up_to_date(tmp_path: Path) -> None:
    older(path := tmp_path / "ledger.db")
    assert [event.body["value"] for event in readable(path)] == [place / 7 for place in range(5)]
    for _ in range(2):
        with closing(Ledger(path)) as ledger:
            assert [(event.time, event.body) for event in ledger.events()][:5] == [
                (1e9 + place / 3, {"value": place / 7}) for place in range(5)
            ]
            assert ledger.cursor("MLflow") == 2
            ledger.append("report", "job", 5, value=5 / 7)
            assert ledger.append("report", "job", 0, value=0) is None
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("SELECT value FROM meta").fetchall() == [(str(SCHEMA_VERSION),)]
        assert db.execute("UPDATE events SET body = '{\"value\": 1}' WHERE place = 1").rowcount == 1
    with pytest.raises(DamagedLedgerError, match="event 2 was altered"):
        read(path)


def test_a_driver_of_the_previous_release_may_go_on_while_this_one_reads(tmp_path: Path) -> None:
    older(path := tmp_path / "ledger.db")
    assert len(read(path)) == 5
    with closing(sqlite3.connect(path)) as db, db:
        row = (2e9, "report", "job", 5, json.dumps({"value": 1}))
        db.execute("INSERT INTO events (time, kind, job, place, body) VALUES (?, ?, ?, ?, ?)", row)
    assert len(read(path)) == 6


def test_two_that_open_an_older_ledger_at_once_bring_it_up_to_date_once(tmp_path: Path) -> None:
    older(path := tmp_path / "ledger.db")
    start, found = threading.Barrier(2), list[int]()

    def open_it() -> None:
        start.wait()
        found.append(len(read(path)))

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5, 5]


# Another program that holds it


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the ledger for writing until it is told to end."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_locked_ledger_is_waited_for(tmp_path: Path) -> None:
    path = whole(tmp_path / "ledger.db", 3)
    with closing(Ledger(path)) as ledger, held(path) as other:
        assert len(ledger.events()) == 4  # reading goes on

        def let_go() -> None:
            time.sleep(0.5)
            other.communicate("now\n")

        helper = threading.Thread(target=let_go)
        helper.start()
        assert ledger.append("report", "job", 99) is not None
        helper.join()
        assert other.returncode == 0
        assert [event.place for event in ledger.events()][-1] == 99


def test_a_ledger_that_stays_locked_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "_BUSY_S", 0.3)
    path = whole(tmp_path / "ledger.db", 3)
    with closing(Ledger(path)) as ledger:
        with held(path), pytest.raises(LedgerError, match=r"database is locked; another program holds it; end that"):
            ledger.append("report", "job", 99)
        assert ledger.append("report", "job", 99) is not None
    assert len(read(path)) == 5


# A full disk, and one that can't be written


@tiny_disk
def test_a_full_disk_tears_nothing_and_the_ledger_goes_on_once_there_is_room(tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk", kib=512) as disk:
        (filler := disk.path / "filler").write_bytes(bytes(150_000))
        path = disk.path / "ledger.db"
        ledger = Ledger(path)
        acknowledged = 0

        def fill_up() -> None:
            nonlocal acknowledged
            while True:
                ledger.append("report", "job", acknowledged, text="x" * 1000)
                acknowledged += 1

        with pytest.raises(LedgerError, match=r"database or disk is full; free some room there"):
            fill_up()
        assert len(ledger.events()) == acknowledged > 10
        with suppress(LedgerError):
            ledger.close()
        filler.unlink()
        with closing(Ledger(path)) as again:
            assert [event.place for event in again.events()] == list(range(acknowledged))
            assert again.append("report", "job", acknowledged) is not None


@tiny_disk
def test_a_ledger_that_can_not_be_written_is_read_and_said_when_it_comes_to_that(tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk", kib=1024) as disk:
        path = whole(disk.path / "ledger.db", 3)
        disk.read_only()
        there = sorted(disk.path.iterdir())
        with closing(Ledger(path)) as ledger:
            assert len(ledger.events()) == 4
            with pytest.raises(LedgerError, match=r"ledger .*readonly.*; make the home folder one that can") as caught:
                ledger.append("session")
        assert "\n" not in str(caught.value)
        assert sorted(disk.path.iterdir()) == there
        disk.writable()
        assert len(read(path)) == 4


def test_a_driver_that_is_killed_while_it_writes_leaves_only_whole_events(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path := tmp_path / "ledger.db"), "100000"]
    found: list[Event] = []
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as writer:
            deadline, seen = time.monotonic() + 60, 0
            while seen < len(found) + 5:
                assert time.monotonic() < deadline, "waited in vain for events"
                time.sleep(0.01)
                seen = len(readable(path) if path.exists() else [])
            os.kill(writer.pid, signal.SIGKILL)
        found = read(path)
        assert len(found) >= seen
        assert [event.place for event in found] == list(range(len(found)))
