"""What goes wrong while a study runs: trials that diverge, workers that die or hang, images that vanish."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fmnist_sweep import arithmetic, config, jobs, running
from fmnist_sweep.errors import DataError, FatalError
from fmnist_sweep.executors.base import Happening
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.executors.local import LocalExecutor
from fmnist_sweep.proposers import Task
from fmnist_sweep.trial import Report, ReportTo, TrialJob, TrialResult
from tests import stand_ins
from tests.driver_place import Place, nets


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, stand_ins.task())


def test_a_diverged_trial_is_recorded_and_the_sweep_goes_on(place: Place) -> None:
    assert place.drive(4, stand_ins.diverging) == "done"
    assert [job.reason for job in place.state.trials("failed")] != []
    assert all("diverged: the loss became nan" in job.reason for job in place.state.trials("failed"))
    assert len(place.state.trials()) == 4


def test_images_that_are_gone_end_the_run_and_no_trial(place: Place) -> None:
    with pytest.raises(DataError, match=r"images.npy can't be read: .*; start again, which mends it"):
        place.drive(4, stand_ins.unreadable)
    assert place.state.trials("failed") == []
    assert place.drive(4) == "done"
    assert {job.state for job in place.state.trials()} <= {"complete", "pruned"}


def test_the_same_error_again_and_again_ends_the_sweep(place: Place) -> None:
    with pytest.raises(FatalError, match=r"3 jobs in a row failed.*ValueError: no such layer; what they printed is in"):
        place.drive(10, stand_ins.raising)
    assert len(place.state.trials("failed")) == 3


def raising_beside_the_first(job: TrialJob, report: ReportTo) -> TrialResult:
    if job.key == "trial-0000":
        time.sleep(stand_ins.PATIENCE_S)
    return stand_ins.raising(job, report)


def test_what_trains_while_a_run_gives_up_is_paused(place: Place) -> None:
    executor = LocalExecutor(2, log=place.folder.log, run=raising_beside_the_first, preload=())
    try:
        with pytest.raises(FatalError, match="3 jobs in a row failed"):
            place.driver(executor).run(10)
    finally:
        executor.close()
    begun = [job for job in place.state.unfinished() if job.state == "running"]
    assert "trial-0000" in [job.key for job in begun]
    assert all(job.paused for job in begun)


def test_jobs_of_a_driver_that_was_killed_are_paused_until_they_go_on(place: Place) -> None:
    assert place.drive(2, extras=nets("lab-cnn1", "lab-cnn3"), stop_after=1) == "interrupted"
    keys = [job.key for job in place.state.unfinished()]
    assert len(keys) > 1
    for key in keys:
        place.ledger.append("started", key, 7)  # and then the end of the driver
    assert place.drive(2) == "done"
    state = place.state
    assert [event.job for event in place.ledger.events() if event.kind == "paused" and event.place == 7] == keys
    assert {job.key: job.paused for job in state.unfinished()} == {"lab-cnn1": True, "lab-cnn3": True}
    assert state.left == {"lab-cnn1", "lab-cnn3"}


def test_what_an_ended_worker_had_half_written_is_removed_by_the_next_run(place: Place) -> None:
    assert place.drive(2, stop_after=1) == "interrupted"
    folder = place.folder.job("trial-0000")
    folder.mkdir(parents=True, exist_ok=True)
    scratch, other = folder / ".checkpoint.10448.f2154a6d", folder / ".a-users"
    for path in (scratch, other):
        path.write_bytes(bytes(1000))
    assert place.drive(2) == "done"
    assert not scratch.exists()
    assert other.exists()


def now_and_then(job: TrialJob, report: ReportTo) -> TrialResult:
    return (stand_ins.raising if job.key.endswith(("1", "4", "7")) else stand_ins.quick)(job, report)


def test_errors_between_trials_that_do_well_are_not_in_a_row(tmp_path: Path) -> None:
    """Though none of these trials is trained in full before the end."""
    text = stand_ins.SWEEP.replace("SAMPLER", "random").replace(
        "reduction = 3", 'reduction = 3, full_training = "at_end"'
    )
    place = Place(tmp_path, Task(config.parse(text, "nets"), stand_ins.SHAPE, stand_ins.CLASSES, 0))
    assert place.drive(9, now_and_then) == "done"
    assert len(place.state.trials("failed")) == 3


def test_running_out_of_memory_is_not_tried_again(place: Place) -> None:
    assert place.drive(5, stand_ins.memory) == "done"
    trials = place.state.trials()
    assert [job.attempts for job in trials] == [1] * 5
    assert all(job.reason.startswith("memory: ") for job in trials)


def test_a_worker_that_dies_is_started_again_from_its_checkpoint(place: Place) -> None:
    executor = LocalExecutor(1, log=place.folder.log, run=stand_ins.killing_itself, preload=())
    try:
        driver = place.driver(executor)
        assert driver.run(2) == "done"
    finally:
        executor.close()
    assert [event.job for event in place.ledger.events() if event.kind == "died"] == ["trial-0000", "trial-0001"]
    for trial in place.state.trials():
        assert [report.place for report in trial.reports] == list(range(len(trial.reports)))


def test_workers_that_all_die_end_the_sweep_and_not_every_trial(place: Place) -> None:
    executor = LocalExecutor(1, log=place.folder.log, run=stand_ins.always_killing_itself, preload=())
    try:
        with pytest.raises(
            FatalError, match=r"3 jobs in a row failed, the last \(trial-0002\) with the worker was ended"
        ):
            place.driver(executor).run(10)
    finally:
        executor.close()
    assert len(place.state.trials("failed")) == 3


class LostCluster(InlineExecutor):
    """Its cluster goes away while jobs run."""

    def happenings(self, timeout_s: float) -> list[Happening]:  # noqa: ARG002
        raise FatalError("the cluster is gone")


def test_what_runs_where_an_executor_gives_up_is_paused(place: Place) -> None:
    with pytest.raises(FatalError, match="the cluster is gone"):
        place.driver(LostCluster(stand_ins.quick)).run(3)
    begun = [job for job in place.state.unfinished() if job.state == "running"]
    assert begun
    assert all(job.paused for job in begun)


def test_of_the_trials_that_are_set_aside_the_best_keep_their_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_MOST_CHECKPOINTS", 2)
    for folder in ("one", "whole"):
        (tmp_path / folder).mkdir()
    place, whole = Place(tmp_path / "one", stand_ins.task()), Place(tmp_path / "whole", stand_ins.task())
    assert place.drive(12, stop_after=9) == "interrupted"
    held = sorted(place.state.trials("held"), key=lambda job: -job.reports[-1].standing)
    assert len(held) > 2
    kept = [job.key for job in held if place.folder.checkpoint(job.key).exists()]
    assert kept == [job.key for job in held[:2]]
    assert place.drive(12) == "done"  # and whoever goes on without one comes to the same
    monkeypatch.undo()
    whole.drive(12, stop_after=9)
    whole.drive(12)
    assert [(job.key, job.state, job.reports) for job in place.state.trials()] == [
        (job.key, job.state, job.reports) for job in whole.state.trials()
    ]


def test_a_worker_that_hangs_again_and_again_fails_its_trial(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_FIRST_REPORT_S", 3.0)
    executor = LocalExecutor(2, log=place.folder.log, run=stand_ins.hanging, preload=())
    try:
        driver = place.driver(executor)
        driver.run(1)
    finally:
        executor.close()
    (trial,) = place.state.trials()
    assert trial.state == "failed"
    assert len([event for event in place.ledger.events() if event.kind == "died"]) == 2  # the third is its end
    assert "no sign of life, 3 times" in trial.reason


def test_a_net_of_long_epochs_has_the_time_for_its_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute an image: half an epoch of 40 images takes 1,200 s, and there is nothing to be heard before."""
    monkeypatch.setattr(arithmetic, "image_s", lambda *_: 60.0)
    executor = InlineExecutor(stand_ins.quick)
    driver, submit, given = place.driver(executor), executor.submit, list[float]()

    def noting(job: TrialJob, alone: bool = False) -> None:
        given.append(driver._running._silent_until[job.key] - time.monotonic())
        submit(job, alone)

    monkeypatch.setattr(executor, "submit", noting)
    driver.run(1)
    executor.close()
    assert given[0] > 10_000


def test_what_was_paused_at_a_rung_and_is_below_the_median_now_is_pruned(tmp_path: Path) -> None:
    text = stand_ins.SWEEP.replace("SAMPLER", "random").replace('pruner = "asha"', 'pruner = "median"')
    place = Place(tmp_path, Task(config.parse(text, "nets"), stand_ins.SHAPE, stand_ins.CLASSES, 0))
    accuracies = [0.1, *(0.5 + 0.01 * number for number in range(6))]
    for number, (proposal, accuracy) in enumerate(zip(stand_ins.proposals(), accuracies, strict=False)):
        key = f"trial-{number:04d}"
        place.ledger.append("asked", key, 0, **stand_ins.asked(number, proposal))
        place.ledger.append("started", key, 1)
        place.ledger.append("report", key, 0, **Report(0, 0.5, 1.0, 0.5, 1.0, accuracy, 1.0, 20).body)
        place.ledger.append("paused", key, 1)
    place.drive(7)
    assert place.state.jobs["trial-0000"].state == "pruned"
    assert place.state.jobs["trial-0000"].reason.startswith("pruned at epoch 0.5")
    assert place.state.jobs["trial-0006"].state == "complete"
