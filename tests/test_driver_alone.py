"""The last trial that trains gets what all slots have, and one again where another has come beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.simulated import Simulated
from fmnist_sweep import jobs, pruning
from fmnist_sweep.executors import Finished, Happening
from fmnist_sweep.proposers import Task
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord
from fmnist_sweep.trial import Kind, TrialJob
from tests import stand_ins
from tests.driver_place import Place
from tests.pruning_stand_ins import trial


class _Noted(Simulated):
    """Notes who was started, and whether alone, which needs all slots free."""

    def __init__(self, slots: int = 2) -> None:
        super().__init__(slots)
        self.spreads = True
        self.started: list[tuple[str, bool]] = []
        self.at_work: dict[str, bool] = {}

    def submit(self, job: TrialJob, alone: bool = False) -> None:
        assert not (alone and self.at_work)
        self.at_work[job.key] = alone
        self.started.append((job.key, alone))
        super().submit(job)

    def happenings(self, timeout_s: float) -> list[Happening]:
        told = super().happenings(timeout_s)
        for happening in told:
            if isinstance(happening, Finished):
                del self.at_work[happening.key]
        return told

    def cancel(self, key: str) -> None:
        self.at_work.pop(key, None)
        super().cancel(key)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(jobs, "_WORTH_A_START_S", 0.5)
    return Place(tmp_path, stand_ins.task())


def test_the_last_trial_goes_on_alone_from_where_it_was(place: Place) -> None:
    executor = _Noted()
    assert place.driver(executor).run(6) == "done"
    alone = [key for key, is_alone in executor.started if is_alone]
    assert len(alone) == 1
    assert executor.started[-1] == (alone[0], True)
    assert [event.job for event in place.ledger.events() if event.kind == "paused"] == alone  # and nobody else moved
    job = place.state.jobs[alone[0]]
    assert job.state == "complete"
    assert [report.place for report in job.reports] == list(range(len(job.report_at)))


def test_where_that_makes_nothing_faster_it_stays_where_it_is(place: Place) -> None:
    executor = _Noted()
    executor.spreads = False
    assert place.driver(executor).run(6) == "done"
    assert not any(alone for _, alone in executor.started)


def test_what_is_nearly_trained_stays_where_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_WORTH_A_START_S", 60.0)
    executor = _Noted()
    assert place.driver(executor).run(6) == "done"
    assert not any(alone for _, alone in executor.started)


def test_the_labs_nets_and_the_finals_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_WORTH_A_START_S", 0.5)
    kinds: list[Kind] = ["trial", "lab", "final"]
    assert [jobs.may_spread(trial(0, 0.5, kind=kind)) for kind in kinds] == [True, False, False]


def test_it_makes_room_where_there_is_something_to_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_WORTH_A_START_S", 0.5)
    task = stand_ins.task()
    place = Place(tmp_path, Task(task.config.changed(epochs=8), task.input_shape, task.classes, task.seed))
    executor, late = _Noted(), list[str]()
    chosen = pruning.last_chance

    def last_chance(trials: Sequence[JobRecord], fidelity: FidelitySection, finalists: int) -> JobRecord | None:
        """Besides what is due: a held trial, once another has all slots."""
        held = [job for job in trials if job.state == "held"]
        if any(executor.at_work.values()) and held and not late:
            late.append(held[0].key)
            return held[0]
        return chosen(trials, fidelity, finalists)

    monkeypatch.setattr(pruning, "last_chance", last_chance)
    assert place.driver(executor).run(6) == "done"
    first = next(key for key, alone in executor.started if alone)
    began = executor.started.index((first, True))
    assert executor.started[began + 1 : began + 3] == [(late[0], False), (first, False)]
    assert place.state.jobs[first].state == "complete"
