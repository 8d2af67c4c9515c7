"""A disk that is full or can't be written, a storage that is locked: said in a line, and no trial pays for it."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from fmnist_sweep import durable
from fmnist_sweep.errors import HomeError, LedgerError, StorageError
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.executors.local import LocalExecutor
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.trial import RunTrial
from fmnist_sweep.views import Mirror
from fmnist_sweep.views.optuna_storage import OptunaView
from tests import stand_ins
from tests.conftest import Cli
from tests.driver_place import Place
from tests.faults import full_disk, tiny_disk

TRIALS = 4
WRITER = """
import itertools, sys
from pathlib import Path
from fmnist_sweep import durable

for turn in itertools.count(1):
    durable.write_sealed(Path(sys.argv[1]), bytes([turn % 256]) * 2_000_000)
    if turn == 2:
        print("going", flush=True)
"""


def driven(place: Place, run: RunTrial, workers: int = 0) -> StudyState:
    """Drives a study, with real worker processes or in this one."""
    executor = LocalExecutor(workers, log=place.folder.log, run=run, preload=()) if workers else InlineExecutor(run)
    try:
        assert place.driver(executor).run(TRIALS) == "done"
    finally:
        executor.close()
    return place.state


def told(job: JobRecord) -> object:
    return job.key, job.fingerprint, job.state, job.reports, job.best


@tiny_disk
@pytest.mark.parametrize(("run", "workers"), [(stand_ins.bulky_checkpoints, 2), (stand_ins.bulky_weights, 0)])
def test_no_trial_fails_for_a_full_disk_and_the_study_goes_on_once_there_is_room(
    tmp_path: Path, run: RunTrial, workers: int
) -> None:
    with full_disk(tmp_path / "disk", kib=8192) as disk:
        place = Place(disk.path, stand_ins.task())
        filler = disk.fill(leave=400_000)
        with pytest.raises(HomeError, match=r"can't be written \(.*No space left on device\); once it can") as caught:
            driven(place, run, workers)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 1
        state = place.state
        assert state.unfinished()
        assert [job.state for job in state.trials("failed", "complete", "pruned")] == []
        assert all(job.paused for job in state.trials("running"))
        for path in disk.path.rglob("checkpoint"):
            assert durable.read_sealed(path) is not None
        filler.unlink()
        gone_on = driven(place, run)
        assert list(disk.path.rglob(".*")) == []  # nor what a worker that was ended had half written
        place.ledger.close()
    (tmp_path / "other").mkdir()
    whole = driven(Place(tmp_path / "other", stand_ins.task()), run)
    if not workers:  # two at a time may end in either order
        assert [told(job) for job in gone_on.trials()] == [told(job) for job in whole.trials()]
    assert [job.number for job in gone_on.trials("complete", "pruned")] == list(range(TRIALS))


@tiny_disk
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_study_whose_ledger_can_not_be_written_stops_and_goes_on_later(tmp_path: Path, fault: str) -> None:
    with full_disk(tmp_path / "disk", kib=8192) as disk:
        place = Place(disk.path, stand_ins.task())
        place.drive(1)
        filler = disk.fill() if fault == "full" else disk.path / ".none"
        if fault == "read-only":
            place.ledger.close()
            disk.read_only()
        with pytest.raises(LedgerError, match=r"full; free some room|readonly|unable to open") as caught:
            driven(reopened(place) if fault == "read-only" else place, stand_ins.quick)
        assert "\n" not in str(caught.value)
        disk.writable()
        filler.unlink(missing_ok=True)
        state = driven(reopened(place), stand_ins.quick)
        assert [job.number for job in state.trials()] == list(range(TRIALS))
        assert [job.state for job in state.trials("failed")] == []
        place.ledger.close()


def reopened(place: Place) -> Place:
    place.ledger.close()
    place.ledger = Ledger(place.folder.ledger)
    return place


@tiny_disk
@pytest.mark.parametrize(("fault", "said"), [("full", errno.ENOSPC), ("read-only", errno.EROFS)])
def test_a_home_that_can_not_be_written_is_said_before_anything_is_begun(tmp_path: Path, fault: str, said: int) -> None:
    cli = Cli(tmp_path)
    with full_disk(tmp_path / "disk", kib=64) as disk:
        if fault == "full":
            disk.fill()
        else:
            disk.read_only()
        done = cli.run("run", "--home", "disk", "--trials", "1")
        assert sorted(path.name for path in disk.path.iterdir() if not path.name.startswith(".filler")) == []
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: --home disk can't be written: {os.strerror(said)}"]
    assert "Traceback" not in done.stderr


def test_a_write_that_is_killed_on_the_way_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for pause_s in (0.0, 0.005, 0.01, 0.02):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"going\n"
            time.sleep(pause_s)
            writer.kill()
        content = durable.read_sealed(path)
        assert content is not None
        assert len(set(content)) == 1
        assert len(content) == 2_000_000


# Optuna's storage


def storage_of(folder: Path) -> tuple[Path, str]:
    path = folder / "optuna.db"
    return path, f"sqlite:///{path}?timeout=0.2"  # seconds that each try waits for a lock


def numbers_and_states(path: Path) -> list[tuple[int, str]]:
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{path}")
    return [(trial.number, trial.state.name) for trial in study.trials]


def identified(place: Place) -> Place:
    """The same place with a study that views can show."""
    place.ledger.close()
    place.folder.ledger.unlink()
    place.ledger = Ledger(place.folder.ledger)
    place.ledger.append("study", id="abc", name="mine", config=place.task.config.model_dump(mode="json"))
    return place


def test_a_locked_storage_is_waited_for_while_the_study_goes_on(tmp_path: Path) -> None:
    place = identified(Place(tmp_path, stand_ins.task()))
    path, uri = storage_of(tmp_path)
    mirror = Mirror(place.ledger, lambda: OptunaView(uri, "mine"))
    try:
        assert mirror.drain(60)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            place.drive(TRIALS)
            stand_ins.wait_for(lambda: mirror.trouble, "the mirror's trouble")
            assert "database is locked" in mirror.trouble
            assert mirror.fatal is None
            other.execute("ROLLBACK")
        assert mirror.drain(60)
        assert mirror.trouble == ""
    finally:
        mirror.close()
    state = place.state
    assert [job.state for job in state.trials("failed")] == []
    assert numbers_and_states(path) == [(job.number, job.state.upper()) for job in state.trials()]


def test_a_storage_that_is_locked_at_the_start_is_waited_for_too(tmp_path: Path) -> None:
    place = identified(Place(tmp_path, stand_ins.task()))
    path, uri = storage_of(tmp_path)
    optuna.create_study(storage=uri, study_name="other")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    letting_go = threading.Timer(1.0, lambda: other.execute("ROLLBACK"))
    letting_go.start()
    mirror = Mirror(place.ledger, lambda: OptunaView(uri, "mine"))
    try:
        place.drive(1)
        assert mirror.drain(60)
    finally:
        mirror.close()
        letting_go.join()
        other.close()
    assert numbers_and_states(path) == [(0, "COMPLETE")]


@tiny_disk
def test_a_storage_that_can_not_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    place = identified(Place(tmp_path, stand_ins.task()))
    with full_disk(tmp_path / "disk", kib=2048) as disk:
        path, uri = storage_of(disk.path)
        command = "import optuna, sys; optuna.create_study(storage=sys.argv[1], study_name='other')"
        subprocess.run([sys.executable, "-c", command, uri], check=True, capture_output=True)
        disk.read_only()
        mirror = Mirror(place.ledger, lambda: OptunaView(uri, "mine"))
        try:
            with pytest.raises(StorageError, match=f"--storage sqlite:///{path}.*(readonly database|unable to open)"):
                mirror.drain(60)
        finally:
            mirror.close()


@tiny_disk
def test_a_storage_whose_disk_is_full_is_caught_up_with_and_fails_no_trial(tmp_path: Path) -> None:
    place = identified(Place(tmp_path, stand_ins.task()))
    with full_disk(tmp_path / "disk", kib=2048) as disk:
        path, uri = storage_of(disk.path)
        mirror = Mirror(place.ledger, lambda: OptunaView(uri, "mine"))
        try:
            assert mirror.drain(60)
            filler = disk.fill()
            place.drive(TRIALS)
            stand_ins.wait_for(lambda: mirror.trouble, "the mirror's trouble")
            assert "database or disk is full" in mirror.trouble
            assert not mirror.drain(0.1)
            filler.unlink()
            assert mirror.drain(60)
        finally:
            mirror.close()
        state = place.state
        assert [job.state for job in state.trials("failed")] == []
        assert numbers_and_states(path) == [(job.number, job.state.upper()) for job in state.trials()]
