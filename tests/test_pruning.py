"""Which trials train on: properties of successive halving and of the median rule, and where trials are compared."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep import arithmetic
from fmnist_sweep.pruning import Rungs, at_rung, flat, goes_on, last_chance, merit, promoted, report_points, score_at
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord, JobState
from fmnist_sweep.trial import Report
from tests.pruning_stand_ins import (
    FIRST,
    POINTS,
    PROPOSAL,
    accuracies,
    among,
    asha,
    at_one,
    fields,
    reductions,
    rungs,
    trial,
)
from tests.strategies import CALM

# Where


@CALM
@given(st.integers(1, 8), rungs)
def test_trials_report_at_low_rungs_and_whole_epochs(epochs: int, rungs: list[float]) -> None:
    points = report_points(epochs, rungs)
    assert list(points) == sorted(set(points))
    assert set(points) == {rung for rung in rungs if rung < 1} | set(range(1, epochs + 1))


@pytest.mark.parametrize("pruner", ["asha", "median", "none"])
def test_trials_are_compared_at_rungs_before_the_end(pruner: str) -> None:
    fidelity = FidelitySection.model_validate({"pruner": pruner, "rungs": [0.5, 2.0, 3.0]})
    found = [at_rung(trial(0, *[0.1] * passed), fidelity) for passed in range(5)]
    assert found == [passed in (1, 3) and pruner != "none" for passed in range(5)]
    assert not at_rung(trial(0, 0.1, kind="lab"), fidelity)


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_who_is_at_no_rung_goes_on(pruner: str) -> None:
    fidelity = FidelitySection.model_validate({"pruner": pruner, "rungs": [1.0, 3.0]})
    best = [trial(number, 0.9, 0.9, 0.9, 0.9) for number in range(1, 9)]
    for passed in (0, 1, 3, 4):
        assert among(trial(0, *[0.1] * passed), best, fidelity)
    assert not among(trial(0, 0.1, 0.1), best, fidelity)


def test_a_score_is_that_of_its_epoch() -> None:
    assert [score_at(trial(0, 0.1, 0.2), epoch) for epoch in (0.5, 1.0, 2.0)] == [0.1, 0.2, None]


# Successive halving


@CALM
@given(st.lists(accuracies, min_size=1, max_size=20, unique=True), reductions)
def test_the_best_one_in_reduction_go_on(scores: list[float], reduction: int) -> None:
    trials = at_one(scores)
    going_on = sorted(
        score for job, score in zip(trials, scores, strict=True) if goes_on(job, Rungs(trials), asha(reduction))
    )
    assert going_on == sorted(scores)[len(scores) - len(scores) // reduction :]


@CALM
@given(fields, accuracies, accuracies, reductions)
def test_a_higher_score_is_never_worse(others: list[float], one: float, other: float, reduction: int) -> None:
    low, high = sorted((one, other))
    for fidelity in (asha(reduction), FidelitySection(pruner="median", rungs=[1.0])):
        if among(trial(99, 0.5, low), at_one(others), fidelity):
            assert among(trial(99, 0.5, high), at_one(others), fidelity)


@CALM
@given(fields.flatmap(lambda found: st.permutations(at_one(found))), reductions)
def test_the_order_in_which_they_came_does_not_matter(trials: list[JobRecord], reduction: int) -> None:
    in_order = sorted(trials, key=lambda job: job.number)
    for job in trials:
        assert goes_on(job, Rungs(trials), asha(reduction)) == goes_on(job, Rungs(in_order), asha(reduction))


@CALM
@given(fields, reductions)
def test_those_below_the_rung_do_not_count(scores: list[float], reduction: int) -> None:
    trials = at_one(scores)
    for job in trials:
        wanted = goes_on(job, Rungs(trials), asha(reduction))
        assert goes_on(job, Rungs([*trials, trial(99, 0.9), trial(100)]), asha(reduction)) == wanted


def test_of_equals_no_more_go_on_than_are_to() -> None:
    trials = at_one([0.9, 0.9, *[0.5] * 7])
    assert [job.number for job in trials if goes_on(job, Rungs(trials), asha(3))] == [0, 1, 2]


def test_a_trial_that_ends_where_others_have_a_rung_is_no_rival_there() -> None:
    """With searched epochs."""
    short = [replace(trial(number, 0.5, 0.9, state="complete"), report_at=(0.5, 1.0)) for number in range(4)]
    long = [trial(number, 0.5, 0.6 + number / 100, state="held") for number in (4, 5, 6)]
    rungs = Rungs([*short, *long])
    assert promoted(rungs, asha(3)) == long[-1]
    assert promoted(rungs, asha(3), lambda jobs: [-float(job.number) for job in jobs]) == long[0]


# Full training at the end


def test_at_the_end_nets_of_few_epochs_have_their_chance() -> None:
    fidelity = FidelitySection(rungs=[0.5, 1.0], full_training="at_end")
    short = replace(trial(0, 0.9, state="held"), report_at=(0.5, 1.0))
    long = [trial(number, 0.5, 0.8, state="held") for number in (1, 2)]
    assert last_chance([short, *long], fidelity, 1) == short


@CALM
@given(fields, reductions)
def test_before_the_end_nobody_trains_past_the_last_rung(scores: list[float], reduction: int) -> None:
    fidelity = FidelitySection(rungs=[0.5, 1.0], reduction=reduction, full_training="at_end")
    at_last, below = at_one(scores), [trial(number, score) for number, score in enumerate(scores)]
    assert not any(goes_on(job, Rungs(at_last), fidelity) for job in at_last)
    at_once = fidelity.model_copy(update={"full_training": "at_once"})
    for job in below:
        assert goes_on(job, Rungs(below), fidelity) == goes_on(job, Rungs(below), at_once)
        whole = replace(job, reports=trial(0, 0.5, 0.6, 0.7).reports)
        assert goes_on(whole, Rungs([*below, whole]), fidelity), "a finalist is stopped nowhere"


@CALM
@given(
    st.lists(st.tuples(accuracies, st.sampled_from(["held", "complete", "running", "pruned", "failed"])), max_size=15),
    st.integers(1, 6),
)
def test_at_the_end_the_best_of_the_last_rung_are_trained_however_many_are_already(
    drawn: list[tuple[float, JobState]], finalists: int
) -> None:
    """So a study that is extended has the new trials that belong to the best trained too."""
    fidelity = FidelitySection(rungs=[1.0], full_training="at_end")
    trials = [trial(number, 0.5, score, state=state) for number, (score, state) in enumerate(drawn)]
    sound = sorted(
        (job for job in trials if job.state != "failed"), key=lambda job: (-drawn[job.number][0], job.number)
    )
    best = {job.number for job in sound[:finalists]}
    trained = {job.number for job in trials if job.state in ("complete", "running")}
    while (found := last_chance(trials, fidelity, finalists)) is not None:
        assert found.state == "held"
        assert found.number in best or len(trained) < finalists
        trained.add(found.number)
        trials[found.number] = replace(found, state="complete")
    assert all(trials[number].state != "held" for number in best)
    assert len(trained) >= min(finalists, sum(state not in ("failed", "pruned") for _, state in drawn))


@pytest.mark.parametrize(("below", "chosen"), [(0, 2), (1, 2), (2, 2), (3, None), (4, None)])
def test_who_will_be_a_finalist_whatever_the_others_do_does_not_wait_for_them(below: int, chosen: int | None) -> None:
    fidelity = FidelitySection(rungs=[1.0], full_training="at_end")
    held = [trial(number, 0.5, 0.6 + number / 10, state="held") for number in range(3)]
    under_way = [trial(number, 0.5) for number in range(3, 3 + below)]
    found = last_chance([*held, *under_way], fidelity, finalists=3)
    assert (None if found is None else found.number) == chosen
    if below:
        assert last_chance([*held, *under_way], FIRST, finalists=3) is None


def test_full_training_at_the_end_is_for_successive_halving_alone() -> None:
    with pytest.raises(ValueError, match=r"full_training is 'at_end'.*pruner.*asha"):
        FidelitySection(pruner="median", full_training="at_end")


# The median rule


@CALM
@given(st.lists(accuracies, max_size=12), accuracies)
def test_the_median_rule_stops_the_lower_half(others: list[float], score: float) -> None:
    fidelity = FidelitySection(pruner="median", rungs=[1.0])
    found = among(trial(99, 0.5, score), at_one(others), fidelity)
    assert found == (len(others) < 5 or score >= median(others))


# Held trials


@CALM
@given(fields, reductions, st.data())
def test_who_is_promoted_belongs_to_the_best_and_is_the_best_of_the_held(
    scores: list[float], reduction: int, data: st.DataObject
) -> None:
    states: list[JobState] = [data.draw(st.sampled_from(("held", "running", "pruned"))) for _ in scores]
    trials = [replace(job, state=state) for job, state in zip(at_one(scores), states, strict=True)]
    due = [job for job in trials if job.state == "held" and goes_on(job, Rungs(trials), asha(reduction))]
    found = promoted(Rungs(trials), asha(reduction))
    assert (found is None) == (not due)
    if found is not None:
        assert found in due
        assert found.best == max(job.best or 0.0 for job in due)


@CALM
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["report", "held", "running", "pruned"]), accuracies)))
def test_what_is_taken_in_step_by_step_is_what_is_there(steps: list[tuple[int, str, float]]) -> None:
    trials = [trial(number) for number in range(6)]
    rungs = Rungs(trials)
    for number, what, score in steps:
        job = trials[number]
        if what == "report" and len(job.reports) < len(POINTS):
            place = len(job.reports)
            report = Report(place, POINTS[place], 1.0, 0.5, 1.0, score, 1.0, 40)
            trials[number] = replace(job, state="running", reports=(*job.reports, report))
        elif what != "report" and job.reports:
            trials[number] = replace(job, state=what)  # type: ignore[arg-type]
        rungs.take(trials[number])
    whole = Rungs(trials)
    assert rungs.held() == whole.held()
    assert [rungs.held_at(epoch) for epoch in POINTS] == [whole.held_at(epoch) for epoch in POINTS]
    assert [rungs.at(epoch) for epoch in POINTS] == [whole.at(epoch) for epoch in POINTS]


def test_the_furthest_is_promoted_first() -> None:
    fidelity = FidelitySection(rungs=[0.5, 1.0], reduction=2)
    near = [trial(0, 0.9, state="held"), trial(1, 0.1, state="held")]
    far = [trial(2, 0.5, 0.8, state="held"), trial(3, 0.5, 0.7, state="held")]
    assert promoted(Rungs([*near, *far]), fidelity) == far[0]
    assert promoted(Rungs(near), fidelity) == near[0]


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], 1),
        ([trial(7, 0.5, 0.6, 0.7, 0.8, state="complete")], 1),
        ([trial(7, 0.5, 0.6, state="running")], 1),
        ([trial(7, 0.5, state="running")], None),  # it may yet be among the best
        ([trial(7, state="waiting")], None),
        ([trial(7, 0.5, 0.6, 0.7, 0.8, state="complete"), trial(8, 0.5, 0.6, state="running")], None),  # enough
        ([trial(7, 0.5, state="failed"), trial(8, 0.5, 0.6, state="pruned")], 1),
    ],
)
def test_at_the_end_the_best_of_the_held_become_finalists(others: list[JobRecord], chosen: int | None) -> None:
    held = [trial(0, 0.5, 0.6, state="held"), trial(1, 0.5, 0.7, state="held"), trial(2, 0.9, state="held")]
    found = last_chance([*held, *others], FIRST, finalists=2)
    assert (None if found is None else found.number) == chosen


def test_without_held_trials_there_is_no_last_chance() -> None:
    assert last_chance([], FIRST, finalists=2) is None
    assert last_chance([trial(0, 0.5, 0.6, 0.7, 0.8, state="complete")], FIRST, finalists=2) is None


@CALM
@given(st.lists(st.tuples(accuracies, st.sampled_from(["held", "complete", "running"])), max_size=15), reductions)
def test_who_is_taken_up_again_is_the_best_of_those_that_go_on(
    drawn: list[tuple[float, JobState]], reduction: int
) -> None:
    trials = [trial(number, 0.5, score, state=state) for number, (score, state) in enumerate(drawn)]
    fits = [job for job in trials if job.state == "held" and goes_on(job, Rungs(trials), asha(reduction))]
    best = max(fits, key=lambda job: (job.reports[-1].val_accuracy, -job.number), default=None)
    assert promoted(Rungs(trials), asha(reduction)) == best


def test_trials_are_compared_by_their_last_steps_where_those_were_scored() -> None:
    low, high = trial(0, 0.5, 0.9, state="held"), trial(1, 0.5, 0.8, state="held")
    better = replace(high, reports=(high.reports[0], replace(high.reports[1], steady_accuracy=0.95)))
    trials = [low, better]
    assert score_at(better, 1.0) == 0.95
    assert score_at(low, 1.0) == 0.9
    assert promoted(Rungs(trials), asha(2)) == better
    assert not goes_on(low, Rungs(trials), asha(2))


# When the search is flat


@CALM
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=20), st.integers(1, 8))
def test_flat_is_when_the_last_trials_are_none_of_them_the_best(scores: list[float], patience: int) -> None:
    trials = [trial(number, score, state="held") for number, score in enumerate(scores)]
    champion = scores.index(max(scores))
    assert flat(trials, patience) == (len(scores) - 1 - champion >= patience)


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_search_is_not_flat_while_a_later_trial_trains(state: JobState) -> None:
    trials = [trial(0, 0.9, state="complete"), trial(1, 0.5, state="held"), trial(2, 0.5, state=state)]
    assert not flat(trials, 1)
    assert flat(trials[:2], 1)


def test_a_trial_that_failed_is_no_champion_that_others_would_have_to_beat() -> None:
    trials = [trial(0, 0.95, state="failed"), trial(1, 0.5, state="held"), trial(2, 0.6, state="complete")]
    assert not flat(trials, 1)
    assert flat([*trials, trial(3, 0.5, state="held")], 1)


def test_a_search_without_a_score_is_not_flat() -> None:
    assert not flat([], 1)
    assert not flat([trial(0), trial(1)], 1)


# The price of time


def of_cost(number: int, filters: int, score: float, state: JobState = "running") -> JobRecord:
    """A trial at one epoch whose net takes the longer to train the more filters it has."""
    (block, *_) = PROPOSAL.arch.blocks
    arch = replace(PROPOSAL.arch, blocks=(replace(block, filters=filters),))
    return replace(trial(number, 0.5, score, state=state), arch=arch)


@CALM
@given(accuracies, st.floats(0.01, 10), st.sampled_from([8, 16, 64, 256]), st.sampled_from([8, 16, 64, 256]))
def test_a_net_stands_level_with_one_that_is_less_accurate_by_the_price_of_its_time(
    score: float, price: float, first: int, second: int
) -> None:
    times = [arithmetic.image_s(of_cost(0, filters, 0).arch, PROPOSAL.train) for filters in (first, second)]
    gain = price / 100 * math.log2(times[1] / times[0])
    cheap, dear = of_cost(0, first, score), of_cost(1, second, score + gain)
    assert merit(cheap, cheap.reports[-1], price) == pytest.approx(merit(dear, dear.reports[-1], price), abs=1e-9)
    assert merit(cheap, cheap.reports[-1], 0) == score


def test_of_two_that_are_hardly_apart_the_one_that_trains_faster_goes_on() -> None:
    jobs = [of_cost(0, 256, 0.900), of_cost(1, 16, 0.899)]
    free, priced = asha(2), FidelitySection(rungs=[1.0], reduction=2, price=0.1)
    assert [goes_on(job, Rungs(jobs), free) for job in jobs] == [True, False]
    assert [goes_on(job, Rungs(jobs, priced.price), priced) for job in jobs] == [False, True]


def test_held_trials_are_taken_up_again_by_what_they_are_compared_by() -> None:
    dear, cheap = (
        of_cost(number, filters, score, "held") for number, filters, score in ((0, 256, 0.9), (1, 16, 0.899))
    )
    free, priced = asha(2), FidelitySection(rungs=[1.0], reduction=2, price=0.1)
    for fidelity, wanted in ((free, dear), (priced, cheap)):
        assert promoted(Rungs([dear, cheap], fidelity.price), fidelity) == wanted
        assert last_chance([dear, cheap], fidelity, finalists=1) == wanted
