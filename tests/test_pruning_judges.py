"""Who goes on at a rung where somebody knows better than the trials' order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep.pruning import Rungs, goes_on, promoted
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord
from tests.pruning_stand_ins import (
    accuracies,
    asha,
    reductions,
    trial,
)
from tests.strategies import CALM


@CALM
@given(st.lists(st.tuples(accuracies, st.integers(-100, 100)), min_size=1, max_size=24), reductions)
def test_where_somebody_knows_better_so_many_go_on_as_are_to_and_the_best_of_those_waiting(
    told: list[tuple[float, int]], reduction: int
) -> None:
    """Trials come one by one; whoever is worth most goes on, as soon and as long as one may."""
    fidelity, worths = asha(reduction), [worth for _, worth in told]
    all_, passed = Rungs(), list[int]()

    def worth(jobs: Sequence[JobRecord]) -> list[float]:
        assert len({job.key for job in jobs}) == len(jobs)
        return [float(worths[job.number]) for job in jobs]

    def takes_up(job: JobRecord) -> None:
        waiting = {number for number in range(came) if number not in passed}
        assert worths[job.number] == max(worths[number] for number in waiting)
        passed.append(job.number)
        all_.take(replace(job, state="running"))

    for number, (score, _) in enumerate(told):
        came = number + 1
        job = trial(number, 0.5, score)
        all_.take(job)
        if goes_on(job, all_, fidelity, worth):
            takes_up(job)
        else:
            all_.take(replace(job, state="held"))
        taken_up = promoted(all_, fidelity, worth)
        if taken_up is not None:
            takes_up(taken_up)
        assert promoted(all_, fidelity, worth) is None
        assert len(passed) == came // reduction


def test_what_an_earlier_run_has_set_aside_takes_nobodys_place_whoever_knows_better() -> None:
    """A study of nine ended, with three of them past the rung; of three more one goes on."""
    fidelity = asha(3)
    ended = [trial(number, 0.5, 0.8, state="pruned") for number in range(6)]
    went_on = [trial(number, 0.5, 0.8, 0.9, 0.9, state="complete") for number in range(6, 9)]
    rungs = Rungs([*ended, *went_on])
    passed = []
    for number in range(9, 12):
        job = trial(number, 0.5, 0.7)
        rungs.take(job)
        goes = goes_on(job, rungs, fidelity, lambda jobs: [float(it.number) for it in jobs])
        passed.append(goes)
        rungs.take(replace(job, state="running" if goes else "held"))
    assert passed == [False, False, True]


def test_past_the_last_rung_nobody_goes_before_the_end_whoever_knows_better() -> None:
    fidelity = FidelitySection(rungs=[0.5, 1.0], reduction=2, full_training="at_end")
    there = [trial(number, 0.5, 0.5, state="held") for number in range(4)]
    assert promoted(Rungs(there), fidelity, lambda jobs: [1.0] * len(jobs)) is None


def test_nets_of_few_epochs_that_wait_for_the_end_keep_nobody_from_going_on() -> None:
    """With searched epochs one net's last rung is another's first."""
    fidelity = FidelitySection(rungs=[1.0, 3.0], reduction=2, full_training="at_end")
    short = replace(trial(0, 0.5, 0.9, state="held"), report_at=(0.5, 1.0, 2.0))
    long = [
        replace(trial(number, 0.5, score, state="held"), report_at=(0.5, 1.0, 2.0, 3.0, 4.0))
        for number, score in ((1, 0.6), (2, 0.5), (3, 0.4))
    ]
    rungs = Rungs([short, *long])
    assert promoted(rungs, fidelity) == long[0]
    assert promoted(rungs, fidelity, lambda jobs: [float(job.number) for job in jobs]) == long[2]
    assert not goes_on(short, rungs, fidelity, lambda jobs: [float(job.number == 0) for job in jobs])
