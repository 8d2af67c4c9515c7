"""The loop, with trainers that learn in no time: targets, pruning, restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_sweep import config, deadline, pruning, space
from fmnist_sweep.executors.base import Happening, Reported
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.executors.local import LocalExecutor
from fmnist_sweep.proposers import Past, Proposal, Task, Wait, make
from fmnist_sweep.proposers.base import Excess
from fmnist_sweep.schema import Sampler
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.trial import Extra, Report, ReportTo, TrialJob, TrialResult
from tests import stand_ins
from tests.driver_place import Place, nets


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, stand_ins.task())


def test_ends_with_exactly_the_target(place: Place) -> None:
    assert place.drive(7) == "done"
    trials = place.state.trials()
    assert [job.number for job in trials] == list(range(7))
    assert all(job.state in ("complete", "pruned") for job in trials)
    assert len({job.fingerprint for job in trials}) == 7


def test_the_target_is_a_total_and_a_smaller_one_does_nothing(place: Place) -> None:
    place.drive(3)
    assert place.drive(5) == "done"
    assert len(place.state.trials()) == 5
    assert place.drive(2) == "done"
    assert len(place.state.trials()) == 5


def test_a_space_that_runs_out_says_so(place: Place) -> None:
    assert place.drive(50) == "exhausted"
    assert len(place.state.trials()) == 12
    assert place.drive(50) == "exhausted"


def test_the_last_steps_are_scored_at_the_rungs_and_the_end_of_trials_and_of_what_they_may_share(place: Place) -> None:
    asked: dict[str, TrialJob] = {}

    def noting(job: TrialJob, report: ReportTo) -> TrialResult:
        asked[job.key] = job
        return stand_ins.quick(job, report)

    place.drive(3, noting, nets("lab-cnn1"))
    place.drive(3, noting, [Extra("final-lab-cnn1-seed1", "final", asked["lab-cnn1"].arch, asked["lab-cnn1"].train)])
    assert asked["final-lab-cnn1-seed1"].steady_at == ()
    del asked["final-lab-cnn1-seed1"]
    rungs = place.task.config.fidelity.rungs
    for key, job in asked.items():
        at = [*rungs, job.report_at[-1]]
        assert job.steady_at == tuple(point for point in job.report_at if point in at), key
        assert job.steady_alone_at == tuple(point for point in job.steady_at if point < 1), key
    assert len(asked["trial-0000"].steady_at) > 1


def test_the_best_at_each_rung_go_on_and_the_finalists_go_all_the_way(tmp_path: Path) -> None:
    task = stand_ins.task()
    few = task.config.study.model_copy(update={"keep_models": 2})
    place = Place(tmp_path, Task(task.config.model_copy(update={"study": few}), task.input_shape, task.classes, 0))
    place.drive(12)
    trials = place.state.trials()

    def best(epoch: float, count: int) -> set[str]:
        there = [(score, job.key) for job in trials if (score := pruning.score_at(job, epoch)) is not None]
        return {key for _, key in sorted(there, reverse=True)[:count]}

    assert best(0.5, 4) <= {job.key for job in trials if job.epoch >= 1}
    assert best(1.0, 2) == {job.key for job in trials if job.state == "complete"}
    assert all("set aside at epoch" in job.reason for job in trials if job.state == "pruned")
    assert len(place.state.trials("complete", "pruned")) == 12


def at_end(keep_models: int) -> Task:
    """The small sweep, its best trained in full once no new trial will come."""
    late = stand_ins.SWEEP.replace("SAMPLER", "random").replace(
        "reduction = 3", 'reduction = 3, full_training = "at_end"'
    )
    sweep = config.parse(late.replace("startup_trials", f"keep_models = {keep_models}, startup_trials"), "a late sweep")
    return Task(sweep, stand_ins.SHAPE, stand_ins.CLASSES, 0)


def test_full_training_at_the_end_is_for_the_best_of_the_last_rung_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, at_end(2))
    for target in (9, 12):
        assert place.drive(target) == "done"
        trials = place.state.trials()
        there = [(score, -job.number, job.key) for job in trials if (score := pruning.score_at(job, 1.0)) is not None]
        best = {key for *_, key in sorted(there, reverse=True)[:2]}
        assert len(there) > 2
        assert best <= {job.key for job in trials if job.state == "complete"}
        if target == 9:
            assert len(place.state.trials("complete")) == 2
    whole = [(event.kind, event.job) for event in place.ledger.events()]
    last_asked = max(at for at, (kind, job) in enumerate(whole) if (kind, job) == ("asked", "trial-0008"))
    assert all(whole.index(("kept", job.key)) > last_asked for job in place.state.trials("complete"))


def test_who_goes_on_at_a_rung_pays_for_time_and_who_wins_does_not(tmp_path: Path) -> None:
    wide = stand_ins.SWEEP.replace("SAMPLER", "random").replace("filters = 8", "filters = { choices = [8, 128] }")
    priced = config.parse(wide.replace("reduction = 3", "reduction = 3, price = 10.0"), "a priced sweep")
    place = Place(tmp_path, Task(priced, stand_ins.SHAPE, stand_ins.CLASSES, 0))
    place.drive(24)
    trials = place.state.trials()
    went_on = {job.key for job in trials if job.epoch >= 1}

    def best(price: float) -> set[str]:
        merits = [(pruning.merit(job, job.reports[0], price), job.key) for job in trials]
        return {key for _, key in sorted(merits, reverse=True)[:8]}

    assert best(10.0) <= went_on
    assert not best(0.0) <= went_on
    accuracies = [job.best or 0.0 for job in place.state.ranked()]
    assert accuracies == sorted(accuracies, reverse=True)


class _Contrary:
    """Proposes at random, and holds that the worse a trial is at its rung, the more it is worth."""

    def __init__(self, task: Task) -> None:
        self._random = make(task)

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:
        return self._random.ask(past, excess)

    def worth(self, past: Sequence[Past], places: Sequence[int]) -> list[float]:
        return [-past[place].scores[-1] for place in places]


def test_who_goes_on_is_whom_the_proposer_finds_most_worth_it(tmp_path: Path) -> None:
    text = stand_ins.SWEEP.replace("SAMPLER", "random").replace("startup_trials", "keep_models = 1, startup_trials")
    place = Place(tmp_path, Task(config.parse(text, "nets"), stand_ins.SHAPE, stand_ins.CLASSES, 0))
    executor = InlineExecutor(stand_ins.quick)
    place.driver(executor, _Contrary(place.task)).run(12)
    executor.close()
    trials = sorted(place.state.trials(), key=lambda job: job.reports[0].standing)
    went_on = [job.epoch > 0.5 for job in trials]
    assert sum(went_on) == 4
    assert sum(went_on[:5]) > sum(went_on[5:])
    assert went_on[0]
    assert not went_on[-1]


def test_of_the_trials_of_a_longer_run_as_many_go_on_whoever_knows_better(tmp_path: Path) -> None:
    text = stand_ins.SWEEP.replace("SAMPLER", "random").replace("startup_trials", "keep_models = 1, startup_trials")
    place = Place(tmp_path, Task(config.parse(text, "nets"), stand_ins.SHAPE, stand_ins.CLASSES, 0))
    for target, went_on in ((6, 2), (12, 4)):
        executor = InlineExecutor(stand_ins.quick)
        place.driver(executor, _Contrary(place.task)).run(target)
        executor.close()
        assert sum(job.epoch > 0.5 for job in place.state.trials()) == went_on


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_stopped_and_taken_up_again_is_as_if_never_stopped(tmp_path: Path, sampler: Sampler) -> None:
    (tmp_path / "other").mkdir()
    place = Place(tmp_path, stand_ins.task(sampler))
    whole = Place(tmp_path / "other", place.task)
    whole.drive(8)
    for stop_after in (1, 2, 3, 5):
        assert place.drive(8, stop_after=stop_after) == "interrupted"
        assert all(job.state != "waiting" for job in place.state.jobs.values())
    assert place.drive(8) == "done"

    def told(state: StudyState) -> list[object]:
        return [(job.fingerprint, job.state, job.reports, job.best) for job in state.trials()]

    assert told(place.state) == told(whole.state)


def test_weights_are_kept_for_the_best_trials_and_the_lab_alone(place: Place) -> None:
    place.drive(12, extras=nets("lab-cnn1", "lab-mlp"))
    state = place.state
    keep = place.task.config.study.keep_models
    best = {job.key for job in state.ranked()[:keep]}
    assert {job.key for job in state.jobs.values() if job.kept} == best | {"lab-cnn1", "lab-mlp"}
    on_disk = {path.parent.name for path in place.folder.path.glob("jobs/*/weights.npz")}
    assert on_disk == best | {"lab-cnn1", "lab-mlp"}
    assert not list(place.folder.path.glob("jobs/*/checkpoint"))


def test_a_driver_that_was_killed_while_it_kept_weights_has_the_rest_done_by_the_next(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was recorded last, and with no more work than for one trial: a study may have ten thousand of them."""
    keep, sweep = place.task.config.study.keep_models, place.task.config
    whole = sweep.model_copy(update={"fidelity": sweep.fidelity.model_copy(update={"pruner": "none"})})
    (tmp_path / "whole").mkdir()
    place = Place(tmp_path / "whole", replace(place.task, config=whole))
    place.drive(12)
    complete, best = place.state.trials("complete"), {job.key for job in place.state.ranked()[:keep]}
    assert len(complete) > keep + 1
    last = complete[-1].key
    with closing(sqlite3.connect(place.folder.ledger)) as db, db:
        db.execute("DELETE FROM events WHERE kind = 'dropped'")
        db.execute("DELETE FROM events WHERE kind = 'kept' AND job = ?", (last,))
    for job in complete:
        (place.folder.job(job.key) / "weights.npz").touch()
    ranked, asked = StudyState.ranked, 0

    def counted(state: StudyState) -> list[JobRecord]:
        nonlocal asked
        asked += 1
        return ranked(state)

    monkeypatch.setattr(StudyState, "ranked", counted)
    for _ in range(2):
        assert place.drive(12) == "done"
        assert {path.parent.name for path in place.folder.path.glob("jobs/*/weights.npz")} == best
        assert {job.key for job in place.state.trials() if job.kept} == best
    assert asked <= 4


def test_without_a_search_trials_stay_as_they_are(place: Place) -> None:
    """As for the finals of a search that was interrupted."""
    assert place.drive(12, stop_after=9) == "interrupted"
    before = place.state.trials()
    assert {"held", "running"} & {job.state for job in before}
    assert place.drive(len(before), extras=nets("lab-cnn1"), search=False) == "done"
    assert place.state.trials() == before
    assert place.state.jobs["lab-cnn1"].state == "complete"
    assert place.drive(12) == "done"
    assert place.drive(12, extras=nets("lab-cnn3"), timeout_s=0.0, search=False) == "timeout"


def test_out_of_time_is_said_and_a_longer_time_goes_on(place: Place) -> None:
    assert place.drive(5, timeout_s=0.0) == "timeout"
    assert place.drive(5, timeout_s=600.0) == "done"


@pytest.mark.parametrize("late", [False, True])
def test_the_last_of_the_time_is_for_training_the_best_in_full(
    tmp_path: Path, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a trainer that takes no time: what is reserved is what starting workers takes."""
    place = Place(tmp_path, at_end(2) if late else stand_ins.task("random"))
    monkeypatch.setattr(deadline, "START_S", 350.0)  # as if it took so long, so that a slow disk makes no difference
    assert place.drive(12, timeout_s=900.0) == "timeout"
    before = place.state
    assert 0 < len(before.trials()) < 12
    assert len(before.trials("complete")) == min(len(before.trials()), place.task.config.study.keep_models)
    assert not before.trials("running", "waiting", "pruned")
    assert place.drive(12, timeout_s=60_000.0) == "done"


def test_a_flat_search_ends_with_its_finalists_trained_and_more_patience_goes_on(place: Place) -> None:
    assert place.drive(60, patience=4) == "flat"
    before = place.state
    assert 4 < len(before.trials()) < 60
    assert len(before.ranked()) >= place.task.config.study.keep_models
    assert not before.unfinished()
    assert place.drive(60, patience=4) == "flat"  # a finalist that came to lead late opens nothing again
    assert list(place.state.jobs) == list(before.jobs)
    assert place.drive(60, patience=3) == "flat"
    assert place.drive(60, patience=4) == "flat"
    assert list(place.state.jobs) == list(before.jobs)
    assert place.drive(len(before.trials()) + 2, patience=0) == "done"


def test_a_search_goes_flat_whatever_the_number_of_workers(place: Place) -> None:
    executor = LocalExecutor(2, log=place.folder.log, run=stand_ins.quick, preload=())
    try:
        assert place.driver(executor).run(60, patience=3) == "flat"
    finally:
        executor.close()
    assert 3 < len(place.state.trials()) < 12  # of the space's twelve
    assert len(place.state.trials("complete")) == min(len(place.state.trials()), place.task.config.study.keep_models)


def test_while_it_is_not_sure_whether_a_search_is_flat_no_finalist_is_taken_up(tmp_path: Path) -> None:
    """A finalist that leads late must not open the search again, so it waits until no new trial will come."""
    place = Place(tmp_path, at_end(2))
    rung = max(place.task.config.fidelity.rungs)
    for number, proposal in enumerate(stand_ins.proposals()[:4]):
        key = f"trial-{number:04d}"
        place.ledger.append("asked", key, 0, **stand_ins.asked(number, proposal))
        place.ledger.append("started", key, 1)
        if number < 3:
            report = Report(1, rung, 0.5, 0.5, 0.5, 0.9 - 0.1 * number, 1.0, 40)
            place.ledger.append("report", key, report.place, **report.body)
            place.ledger.append("held", key, 1)
    executor = InlineExecutor(stand_ins.quick)
    driver = place.driver(executor)
    driver._patience = 3
    assert driver._next(60) is None  # trial 3 may yet be the best
    place.ledger.append("report", "trial-0003", 1, **replace(report, val_accuracy=0.5).body)
    place.ledger.append("held", "trial-0003", 1)
    driver = place.driver(executor)
    driver._patience = 3
    assert driver._next(60) == "trial-0000"
    executor.close()


def test_a_flat_search_that_is_interrupted_ends_like_one_that_was_not(tmp_path: Path, place: Place) -> None:
    place.drive(60, patience=4)
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other", stand_ins.task())
    while other.drive(60, patience=4, stop_after=3) == "interrupted":
        pass
    assert [job.key for job in other.state.trials()] == [job.key for job in place.state.trials()]


def test_limits_keep_nets_out(tmp_path: Path) -> None:
    task = stand_ins.task("random")
    limits = task.config.limits.model_copy(update={"parameters": 2_000})
    small = Task(task.config.model_copy(update={"limits": limits}), task.input_shape, task.classes, task.seed)
    place = Place(tmp_path, small)
    assert place.drive(50) == "exhausted"
    trials = place.state.trials()
    assert 0 < len(trials) < 12
    assert all(space.excess(job.arch, limits) <= 0 for job in trials)


class _Repeats:
    """An executor whose every report arrives once more later; notes who was let go on too early."""

    def __init__(self, inner: InlineExecutor) -> None:
        self._inner, self._last = inner, list[Happening]()
        self.slots, self.spreads = inner.slots, inner.spreads
        self.waits: dict[str, int] = {}  # place of the report that each worker waits with
        self.too_early: list[str] = []
        self.recorded: Callable[[], StudyState]

    def submit(self, job: TrialJob, alone: bool = False) -> None:
        self._inner.submit(job, alone)

    def happenings(self, timeout_s: float) -> list[Happening]:
        told = self._inner.happenings(timeout_s)
        again, self._last = self._last, [it for it in told if isinstance(it, Reported)]
        self.waits.update({it.key: it.report.place for it in self._last if isinstance(it, Reported)})
        return again + told

    def proceed(self, key: str) -> None:
        place = self.waits.pop(key, None)
        if place is not None and len(self.recorded().jobs[key].reports) <= place:
            self.too_early.append(key)
        self._inner.proceed(key)

    def cancel(self, key: str) -> None:
        self._inner.cancel(key)

    def close(self) -> None:
        self._inner.close()


def test_a_report_that_arrives_twice_lets_no_worker_go_on_before_its_next_one_is_recorded(place: Place) -> None:
    executor = _Repeats(InlineExecutor(stand_ins.quick))
    executor.recorded = lambda: place.state
    try:
        assert place.driver(executor).run(6) == "done"
    finally:
        executor.close()
    assert not executor.too_early


class _NothingYet:
    """Proposes one trial, then nothing before that has ended, then one more and no other."""

    def __init__(self, task: Task) -> None:
        self._proposer = make(task)
        self.asked = 0

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:
        self.asked += 1
        if any(earlier.standing == "running" for earlier in past):
            return Wait.WAIT
        return self._proposer.ask(past, excess) if len(past) < 2 else None


def test_a_proposer_that_has_to_wait_is_asked_again_when_a_trial_has_ended(place: Place) -> None:
    proposer = _NothingYet(place.task)
    executor = LocalExecutor(2, log=place.folder.log, run=stand_ins.quick, preload=())
    try:
        driver = place.driver(executor, proposer)
        assert driver.run(5) == "exhausted"
    finally:
        executor.close()
    assert len(place.state.trials("complete")) == 2
    assert proposer.asked < 20


def test_whoever_waits_for_a_free_slot_is_told_in_the_last_minutes_alone(place: Place) -> None:
    told: list[int] = []
    executor = LocalExecutor(2, log=place.folder.log, run=stand_ins.quick, preload=())
    try:
        driver = place.driver(executor, idle=lambda _: told.append(len(place.state.trials())))
        assert driver.run(5) == "done"
    finally:
        executor.close()
    assert told
    assert set(told) == {5}
