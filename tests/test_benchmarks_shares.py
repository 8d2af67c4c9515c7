"""Where a study's time goes: each second of its workers once, the first step, the growth of bookkeeping."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bookkeeping, overhead, shares, startup
from fmnist_sweep import config as sweeps
from fmnist_sweep import proposers
from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.ledger import Event
from fmnist_sweep.proposers import Judge, Task


def _events(*told: tuple[float, str, str, float | None], score_s: float | None = None) -> list[Event]:
    return [
        Event(place, time, kind, job, place, {} if train_s is None else {"train_s": train_s, "score_s": score_s})
        for place, (time, kind, job, train_s) in enumerate(told)
    ]


def test_every_second_of_the_workers_is_booked_once() -> None:
    found = shares.of_events(
        _events(
            (0, "session", "", None),
            (1, "started", "a", None),
            (5, "report", "a", 3.0),  # half a second to start, 3 s of training, half a second of scoring
            (10, "report", "a", 7.0),  # 4 s of training, half a second of scoring, half a second of the driver
            (11, "held", "a", None),
            (11, "started", "b", None),
            (12, "ended", "b", None),  # failed before it reported
            (13, "started", "c", None),
            (15, "report", "c", 1.0),  # half a second to start, 1 s of training, half a second of scoring
            (18, "paused", "c", None),  # 3 s that are trained again
            (20, "summary", "", None),
            (100, "session", "", None),  # a pause of 80 s is nobody's
            (101, "started", "a", None),
            (106, "report", "a", 10.0),  # goes on: 3 s of training, half a second of scoring, 1.5 s to start
            (107, "ended", "a", None),
            score_s=0.5,
        )
    )
    assert (found.workers, found.wall_s) == (1, 27.0)
    assert (found.train, found.score, found.start, found.tell, found.end) == (11.0, 2.0, 3.5, 0.5, 2.0)
    assert (found.lost, found.tail, found.idle) == (3.0, 0.0, 5.0)
    assert found.not_training == pytest.approx(1 - 13 / 27)


def test_a_driver_that_was_killed_pauses_nobody_for_the_time_in_between() -> None:
    found = shares.of_events(
        _events(
            (0, "session", "", None),
            (0, "started", "a", None),
            (4, "report", "a", 4.0),
            (7, "report", "a", 7.0),  # and then the kernel ends all
            (1_000, "session", "", None),
            (1_000, "paused", "a", None),
            (1_001, "started", "a", None),
            (1_005, "report", "a", 10.0),
            (1_005, "ended", "a", None),
            score_s=0.0,
        )
    )
    assert (found.wall_s, found.train, found.start, found.lost, found.idle) == (12.0, 10.0, 1.0, 0.0, 1.0)


def test_of_a_command_that_was_timed_what_is_before_and_after_the_ledger_counts() -> None:
    told = ((0, "session", "", None), (0, "started", "a", None), (9, "report", "a", 9.0), (9, "ended", "a", None))
    found = shares.of_events(_events(*told, score_s=0.0), 10.0)
    assert (found.wall_s, found.idle) == (10.0, 1.0)
    assert found.not_training == pytest.approx(0.1)


def test_a_worker_that_waits_for_the_last_net_of_another_is_told_apart() -> None:
    found = shares.of_events(
        _events(
            (0, "session", "", None),
            (1, "started", "a", None),
            (2, "started", "b", None),
            (4, "report", "a", 3.0),
            (4, "ended", "a", None),
            (4, "started", "c", None),
            (6, "report", "b", 4.0),
            (6, "ended", "b", None),  # nobody starts any more: three seconds of one worker
            (9, "report", "c", 5.0),
            (9, "ended", "c", None),
            (10, "summary", "", None),
            score_s=0.0,
        )
    )
    assert (found.workers, found.wall_s, found.train) == (2, 10.0, 12.0)
    assert (found.tail, found.idle) == (3.0, 5.0)
    assert found.not_training == pytest.approx(5 / 20)


def test_the_last_net_that_goes_on_in_another_worker_ends_no_tail() -> None:
    found = shares.of_events(
        _events(
            (0, "session", "", None),
            (0, "started", "a", None),
            (0, "started", "b", None),
            (4, "report", "a", 4.0),
            (4, "ended", "a", None),  # from here on b trains alone
            (7, "report", "b", 7.0),
            (7, "paused", "b", None),
            (7.1, "started", "b", None),  # with all cores
            (10.1, "report", "b", 9.0),
            (10.1, "ended", "b", None),
            score_s=0.0,
        )
    )
    assert found.tail == pytest.approx(6.1)
    assert found.start == pytest.approx(1.0)
    assert found.idle == pytest.approx(0.1)


def test_where_nobody_told_how_long_scoring_took_no_second_is_lost() -> None:
    told = ((0, "session", "", None), (1, "started", "a", None), (5, "report", "a", 3.0), (10, "report", "a", 7.0))
    found = shares.of_events(_events(*told, (11, "ended", "a", None)))
    assert (found.train, found.score, found.start, found.tell, found.end) == (7.0, 0.0, 1.0, 1.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_most_spans_at_once_are_those_over_some_moment(starts: list[tuple[int, int]]) -> None:
    spans = [(float(began), float(began + length)) for began, length in starts]
    most = max(sum(began <= moment + 0.5 < ended for began, ended in spans) for moment in range(30))
    assert shares.most_at_once(spans) == most


def test_the_first_step_is_reckoned_back_from_the_reports() -> None:
    events = _events(
        (13.0, "started", "a", None),
        (20.0, "report", "a", 3.0),  # after 2 s of scoring, so training began at 15
        (26.0, "report", "a", 7.0),
        (27.0, "ended", "a", None),
        score_s=2.0,
    )
    assert startup.moments(events, 10.0) == {"started_s": 3.0, "first_step_s": 5.0, "ended_s": 17.0}


def test_growth_is_of_the_whole_without_counting_the_proposer_twice() -> None:
    def window(driver: float, proposer: float, view: float) -> dict[str, dict[str, float]]:
        spent = {bookkeeping.DRIVER: driver, bookkeeping.PROPOSER: proposer, "MLflow": view}
        return {what: {"wall": seconds} for what, seconds in spent.items()}

    found = overhead.growths({"2000": window(5, 4, 1), "50": window(1, 0.5, 1)}, "wall")  # as a record has them
    assert found == {"all": 3.0, bookkeeping.DRIVER: 5.0, bookkeeping.PROPOSER: 8.0, "MLflow": 1.0}


def test_a_timed_proposer_judges_where_the_products_does() -> None:
    default = Task(sweeps.load("default")[1], FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names), 0)
    watch = bookkeeping.Stopwatch([])
    judge = bookkeeping.timed(proposers.make(default), watch, lambda: None)
    assert isinstance(judge, Judge)
    assert judge.worth([], []) == []
    study = default.config.study.model_copy(update={"sampler": "tpe"})
    other = replace(default, config=default.config.model_copy(update={"study": study}))
    assert not isinstance(bookkeeping.timed(proposers.make(other), watch, lambda: None), Judge)
