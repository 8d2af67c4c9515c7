"""How long a worker may stay silent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fmnist_sweep import running
from fmnist_sweep.running import Running
from fmnist_sweep.state import JobRecord
from fmnist_sweep.trial import Report
from tests.stand_ins import proposals

NET = proposals()[0]
JOB = JobRecord("trial-0000", "trial", 0, NET.arch, NET.train, "", {}, (0.5, 1.0, 2.0))


def report(place: int, epoch: float, train_s: float) -> Report:
    return Report(place, epoch, 1.0, 0.5, 1.0, 0.5, train_s, 40)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def look(jobs: Running, clock: SimpleNamespace, until: int) -> list[str]:
    """Looks every second, as a driver does more than that, and returns what the last look finds."""
    found: list[str] = []
    while clock.s < until:
        clock.s += 1
        found = jobs.hung()
    return found


def test_each_report_gives_a_worker_more_time(clock: SimpleNamespace) -> None:
    jobs = Running(40)
    jobs.start(JOB)
    assert look(jobs, clock, 800) == []
    assert jobs.hear(JOB, report(0, 0.5, 1.0))
    assert look(jobs, clock, 1_000) == []
    assert look(jobs, clock, 1_200) == [JOB.key]


def test_a_halt_of_the_driver_and_its_workers_counts_for_none(clock: SimpleNamespace) -> None:
    jobs = Running(40)
    jobs.start(JOB)
    assert look(jobs, clock, 880) == []
    clock.s = 10_000  # Ctrl-Z, and fg two and a half hours later
    assert look(jobs, clock, 10_010) == []
    assert look(jobs, clock, 10_030) == [JOB.key]


def test_a_slow_net_has_ten_times_what_its_pace_says(clock: SimpleNamespace) -> None:
    jobs = Running(40)
    jobs.start(JOB)
    assert jobs.hear(JOB, report(1, 1.0, 100.0))
    assert look(jobs, clock, 999) == []
    assert look(jobs, clock, 1_001) == [JOB.key]


def test_a_report_that_arrives_twice_is_heard_once_and_after_a_start_again(clock: SimpleNamespace) -> None:
    jobs = Running(40)
    jobs.start(JOB)
    assert (jobs.hear(JOB, report(0, 0.5, 1.0)), jobs.hear(JOB, report(0, 0.5, 1.0))) == (True, False)
    jobs.start(JOB)
    assert jobs.hear(JOB, report(0, 0.5, 1.0))
    assert (list(jobs), len(jobs), JOB.key in jobs) == ([JOB.key], 1, True)
    jobs.end(JOB.key)
    assert (list(jobs), JOB.key in jobs) == ([], False)
    assert clock.s == 0.0
