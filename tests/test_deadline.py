"""Whether a study has time for one more trial: properties of the estimate, and when a study closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep import lab
from fmnist_sweep.deadline import Deadline, closing_s
from fmnist_sweep.state import StudyState
from tests.report_stand_ins import SHAPE, Story
from tests.stand_ins import task
from tests.strategies import CALM

CONFIG = task().config
LATE = CONFIG.model_copy(
    update={
        "fidelity": CONFIG.fidelity.model_copy(update={"full_training": "at_end"}),
        "study": CONFIG.study.model_copy(update={"keep_models": 3}),
    }
)


def searched(trials: int, full: int) -> StudyState:
    """A search in which at most ``full`` trials are trained in full, 5 epochs, the others set aside."""
    return Story().begin().search(trials, full).state


def held(state: StudyState) -> StudyState:
    """The same, while those that ended early are still held."""
    for key, job in state.jobs.items():
        if job.state == "pruned":
            state.jobs[key] = job.__class__(**{name: getattr(job, name) for name in job.__slots__} | {"state": "held"})
    return state


def test_without_a_pace_there_is_nothing_to_foretell() -> None:
    assert closing_s(Story().begin().state, LATE, 2) == 0


@CALM
@given(st.integers(1, 12), st.integers(1, 4))
def test_more_workers_are_never_slower_and_never_faster_than_a_fair_share(trials: int, workers: int) -> None:
    state = held(searched(trials, 0))
    alone, together = closing_s(state, LATE, 1), closing_s(state, LATE, workers)
    assert alone / workers - 1e-9 <= together <= alone


@CALM
@given(st.integers(1, 12))
def test_the_time_is_that_of_the_finalists_and_of_one_new_trial(trials: int) -> None:
    state = held(searched(trials, 0))
    ranked = sorted(state.trials(), key=lambda job: (job.epoch, job.best or 0.0), reverse=True)
    paces = {job.key: job.reports[-1].train_s / job.epoch for job in ranked}
    wanted = sum(paces[job.key] * (job.train.epochs - job.epoch) for job in ranked[:3])
    wanted += sum(paces.values()) / len(paces) * 5
    starts = min(trials, 3) + 1
    assert closing_s(state, LATE, 1) == pytest.approx(wanted + 3.5 * starts)


def test_a_net_without_a_pace_is_expected_to_take_what_its_size_takes() -> None:
    """Not what a trial takes: the lab's fully connected net has fifty epochs of a second."""
    told = Story().begin().search(6, 0)
    before = closing_s(told.state, LATE, 1)
    (mlp,) = lab.variants(("lab-mlp",), input_shape=SHAPE, classes=10)
    told.ask(mlp.name, "lab", -1, mlp.arch, mlp.train, {}, (1.0, 50.0))
    paces = [job.reports[-1].train_s / job.epoch for job in told.state.trials()]
    more = closing_s(told.state, LATE, 1) - before
    assert 3.5 < more < 50 * sum(paces) / len(paces) / 4


def test_who_is_trained_in_full_takes_no_more_time() -> None:
    assert closing_s(searched(8, 99), LATE, 1) < closing_s(held(searched(8, 0)), LATE, 1)


def test_a_study_closes_once_there_is_no_time_for_another_trial_and_stays_so() -> None:
    state = held(searched(8, 0))
    needs = closing_s(state, LATE, 2)
    assert not Deadline(None, 0.0, LATE).close(state, 2)
    assert not Deadline(needs + 60, 0.0, LATE).close(state, 2)
    short = Deadline(needs + 60, 70.0, LATE)
    assert short.close(state, 2)
    assert not short.over
    assert short.close(Story().begin().state, 2)
    assert Deadline(60, 60.0, LATE).over


def test_a_study_closes_in_time_though_no_trial_has_come_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while nobody knows yet whether the search is flat, and a slot is free."""
    now = 1_000.0
    monkeypatch.setattr("fmnist_sweep.deadline.time.monotonic", lambda: now)
    state = held(searched(8, 0))
    deadline = Deadline(closing_s(state, LATE, 2) + 60, 0.0, LATE)
    assert not deadline.close(state, 2)
    now += 61
    assert deadline.close(state, 2)
    assert not deadline.over
