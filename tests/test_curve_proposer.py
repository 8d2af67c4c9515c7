"""What the sampler ``gp`` goes for, beyond the contract of all proposers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep import arithmetic, config, space
from fmnist_sweep.proposers import Past, Proposal, Proposer, Task, curves, make
from fmnist_sweep.proposers.base import telling
from fmnist_sweep.proposers.curves import CurveProposer
from fmnist_sweep.proposers.draws import Draws
from fmnist_sweep.proposers.features import features
from tests.stand_ins import CLASSES, SHAPE

POINTS = 4  # half an epoch, one, two, three

TEXT = """
    title = "nets"
    study = { sampler = "gp", startup_trials = 8 }
    fidelity = { rungs = [0.5, 1] }
    [space]
    depth = { low = 0, high = 3 }
    filters = { choices = [8, 16, 32, 64], per = "block" }
    batch_norm = { choices = ["none", "after_activation"] }
    dropout = { low = 0.0, high = 0.5 }
    learning_rate = { low = 1e-4, high = 1e-1, log = true }
    epochs = 3
"""


def proposer(seed: int = 0) -> Proposer:
    return make(Task(config.parse(TEXT, "nets"), SHAPE, CLASSES, seed))


def ask(maker: Proposer, past: Sequence[Past]) -> Proposal:
    found = maker.ask(past, lambda _: 0.0)
    assert isinstance(found, Proposal)
    return found


def searched(worth: Callable[[Proposal], float], trials: int, seed: int = 0) -> list[Proposal]:
    """A study in little: every trial is trained in full; its accuracy rises to ``worth``."""
    maker, past = proposer(seed), list[Past]()
    while len(past) < trials:
        proposal = ask(maker, past)
        final = worth(proposal)
        scores = tuple(final - 0.05 * (POINTS - 1 - place) for place in range(POINTS))
        past.append(Past(proposal, "complete", scores, final))
    return [earlier.proposal for earlier in past]


def random_draw(seed: str) -> Proposal:
    """One of the space at random."""
    suggest = Draws(seed)
    arch, train = space.sample(config.parse(TEXT, "nets"), suggest, input_shape=SHAPE, classes=CLASSES)
    return Proposal(arch, train, suggest.drawn)


def test_it_finds_what_matters() -> None:
    def worth(proposal: Proposal) -> float:
        rate = math.log10(float(proposal.drawn["learning_rate"]))
        normal = bool(proposal.drawn["batch_norm"] == "after_activation")
        return 0.8 - 0.05 * (rate + 2.5) * (rate + 2.5) + 0.05 * normal

    found = [worth(proposal) for proposal in searched(worth, 24)]
    assert np.median(found[-8:]) > np.mean(found[:8]) + 0.05
    assert max(found[8:]) > 0.84  # of at most 0.85


def test_before_any_has_ended_it_goes_by_where_they_have_come_to() -> None:
    """The deep are better, the shallow quicker; all are held at one of the two rungs."""

    def deep(proposal: Proposal) -> bool:
        return bool(proposal.drawn["depth"] >= 2)

    maker, past = proposer(), list[Past]()
    while len(past) < 24:
        proposal = ask(maker, past)
        scores = (0.6, 0.7) if deep(proposal) else (0.5, 0.6)
        past.append(Past(proposal, "stopped", scores[: 1 + len(past) % 2], None))
    assert sum(deep(it.proposal) for it in past[-12:]) >= 9


def test_of_equals_it_goes_for_the_quick() -> None:
    nets = searched(lambda _: 0.8, 20)
    seconds = [arithmetic.image_s(it.arch, it.train) for it in nets]
    assert np.median(seconds[8:]) < np.median(seconds[:8]) / 2


def test_it_keeps_away_from_what_diverges() -> None:
    def reckless(proposal: Proposal) -> bool:
        return bool(proposal.drawn["learning_rate"] > 10**-2)

    maker, past = proposer(), list[Past]()
    while len(past) < 24:
        proposal = ask(maker, past)
        over = reckless(proposal)
        past.append(Past(proposal, "complete", () if over else (0.7, 0.75, 0.8, 0.8), 0.0 if over else 0.8))
    later = [reckless(it.proposal) for it in past[10:]]
    assert sum(later) <= 2


def test_what_is_under_way_is_not_proposed_twice_nor_its_like() -> None:
    past = [Past(it, "complete", (0.5, 0.6, 0.7, 0.7), 0.7) for it in searched(lambda _: 0.7, 8)]
    maker, running = proposer(), list[Past]()
    for _ in range(4):
        running.append(Past(ask(maker, [*past, *running]), "running", (), None))
    assert len({it.proposal.fingerprint for it in running}) == 4
    assert len({it.proposal.drawn["depth"] for it in running} | {len(it.proposal.drawn) for it in running}) > 1


def test_the_first_are_unlike_each_other() -> None:
    """Nearer than chance would have it comes none to another, over ten seeds."""

    def closest(nets: Sequence[Proposal]) -> float:
        rows = features(nets)
        apart = np.sqrt(((rows[:, None] - rows[None, :]) ** 2).sum(axis=2))
        return float(apart[np.triu_indices(len(rows), 1)].min())

    first = [closest(searched(lambda _: 0.5, 8, seed)) for seed in range(10)]
    drawn = [closest([random_draw(f"{seed}-{turn}") for turn in range(8)]) for seed in range(10)]
    assert np.mean(first) > 1.5 * np.mean(drawn)


def test_the_first_are_quick() -> None:
    def seconds(nets: Sequence[Proposal]) -> float:
        return float(np.mean([arithmetic.image_s(it.arch, it.train) for it in nets]))

    first = [it for seed in range(5) for it in searched(lambda _: 0.5, 8, seed)]
    drawn = [random_draw(f"{turn}") for turn in range(200)]
    median = np.median([arithmetic.image_s(it.arch, it.train) for it in drawn])
    assert seconds(first) < seconds(drawn) / 1.5
    assert max(arithmetic.image_s(it.arch, it.train) for it in first) < 1.5 * median


def test_many_workers_get_random_draws_until_there_is_something_to_learn_from() -> None:
    maker, running = proposer(), list[Past]()
    for _ in range(20):
        running.append(Past(ask(maker, running), "running", (), None))
    assert len({it.proposal.fingerprint for it in running}) == 20


def normal(proposal: Proposal) -> bool:
    return bool(proposal.drawn["batch_norm"] == "after_activation")


def curve(proposal: Proposal) -> tuple[float, ...]:
    """BatchNorm leads at the beginning, and what has none in the end."""
    return (0.7, 0.75, 0.76, 0.77) if normal(proposal) else (0.6, 0.7, 0.78, 0.85)


def judge() -> CurveProposer:
    found = proposer()
    assert isinstance(found, CurveProposer)
    return found


def test_what_starts_behind_and_ends_ahead_is_worth_more_once_some_have_ended() -> None:
    nets = [random_draw(f"{number}") for number in range(24)]
    past = [
        Past(it, "complete", curve(it), max(curve(it))) if number < 12 else Past(it, "stopped", curve(it)[:1], None)
        for number, it in enumerate(nets)
    ]
    waiting = list(range(12, 24))
    worth = dict(zip(waiting, judge().worth(past, waiting), strict=True))
    ahead = [worth[number] for number in waiting if not normal(nets[number])]
    behind = [worth[number] for number in waiting if normal(nets[number])]
    assert min(len(ahead), len(behind)) > 2
    assert np.median(ahead) > max(behind)


def test_of_equals_what_is_sooner_done_is_worth_more() -> None:
    nets = [random_draw(f"{number}") for number in range(16)]
    past = [Past(it, "stopped", (0.5,), None) for it in nets]
    worth = judge().worth(past, range(16))
    seconds = [arithmetic.image_s(it.arch, it.train) for it in nets]
    assert np.corrcoef(np.argsort(np.argsort(worth)), np.argsort(np.argsort(seconds)))[0, 1] < -0.5


def test_before_any_has_ended_what_leads_is_worth_more() -> None:
    nets = searched(lambda _: 0.5, 12)
    rates = [abs(math.log10(float(it.drawn["learning_rate"])) + 2.5) for it in nets]
    past = [Past(it, "stopped", (0.8 - 0.1 * rate,), None) for it, rate in zip(nets, rates, strict=True)]
    quick = min(range(12), key=lambda it: arithmetic.image_s(nets[it].arch, nets[it].train))
    best = min(range(12), key=lambda it: rates[it])
    worst = max(range(12), key=lambda it: rates[it])
    found = judge().worth(past, range(12))
    assert best != quick
    assert found[best] > found[worst]


def test_nets_that_end_sooner_are_compared_where_they_end() -> None:
    """Epochs are searched too; a net of two ends at 0.8, one of four stands there at 0.7 and comes to 0.75."""
    text = TEXT.replace("rungs = [0.5, 1]", "rungs = [1, 3]").replace("epochs = 3", "epochs = { choices = [2, 4] }")
    maker, past = make(Task(config.parse(text, "nets"), SHAPE, CLASSES, 0)), list[Past]()
    assert isinstance(maker, CurveProposer)
    while len(past) < 20:
        proposal = ask(maker, past)
        scores = (0.6, 0.8) if proposal.train.epochs == 2 else (0.6, 0.7, 0.72, 0.75)
        past.append(Past(proposal, "complete", scores, scores[-1]))
    assert sum(it.proposal.train.epochs == 2 for it in past[-8:]) >= 6
    long = [it for it in past if it.proposal.train.epochs == 4]
    waiting = [Past(it.proposal, "stopped", it.scores[:3], None) for it in long]
    rest = [it for it in past if it.proposal.train.epochs == 2]
    worth = maker.worth([*rest, *waiting], range(len(rest), len(past)))
    assert all(math.isfinite(it) for it in worth)


def test_at_the_start_what_leads_is_worth_more() -> None:
    past = [Past(random_draw(f"{number}"), "stopped", (0.1 * number,), None) for number in range(5)]
    worth = judge().worth(past, [1, 4, 2])
    assert sorted(worth) == [worth[0], worth[2], worth[1]]


def test_of_very_many_those_in_question_are_known_to_the_model() -> None:
    past = [Past(random_draw(f"{number}"), "stopped", (0.5 + 0.001 * number,), None) for number in range(100)]
    worth = judge().worth(past, [0, 1, 99])
    assert len(worth) == 3
    assert all(math.isfinite(it) for it in worth)


def test_of_very_many_that_wait_the_best_and_the_latest_are_weighed() -> None:
    past = [Past(random_draw(f"{number}"), "stopped", (0.7 - 0.001 * number,), None) for number in range(200)]
    worth = judge().worth(past, range(200))
    weighed = {place for place, it in enumerate(worth) if it > -math.inf}
    assert {0, 199} <= weighed
    assert len(weighed) <= 80  # the model's time grows with their cube
    by_merit = sorted(range(200), key=lambda place: past[place].scores)  # as the driver has them
    assert dict(zip(by_merit, judge().worth(past, by_merit), strict=True)) == dict(enumerate(worth))


def test_a_rung_added_later_does_no_harm() -> None:
    """A trial of an earlier sweep file may have more scores than there are report points now."""
    past = [Past(it, "complete", (0.5,) * 6, 0.5) for it in searched(lambda _: 0.5, 8)]
    assert ask(proposer(), past) not in [it.proposal for it in past]


def test_features_are_numbers_of_unit_spread() -> None:
    nets = searched(lambda _: 0.5, 12)
    rows = features(nets)
    assert len(rows) == 12
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-9)
    assert len(np.unique(rows, axis=0)) == 12
    assert np.array_equal(rows, features(nets))


def test_numbers_are_evenly_apart_and_words_are_not_ordered() -> None:
    nets = searched(lambda _: 0.5, 30)
    filters = [it.drawn["filters_1"] for it in nets if it.drawn["depth"]]
    deep = [it for it in nets if it.drawn["depth"]]
    by_filters = {
        value: tuple(np.unique(features(deep)[np.array(filters) == value], axis=0)[:, _column(deep)])
        for value in filters
    }
    steps = np.diff([by_filters[value][0] for value in sorted(by_filters)])
    np.testing.assert_allclose(steps, steps[0])


def _column(nets: Sequence[Proposal]) -> int:
    """The column of the first block's filters: the one that goes with their rank."""
    ranks = np.log2([it.drawn["filters_1"] for it in nets])
    fits = [abs(np.corrcoef(column, ranks)[0, 1]) for column in features(nets).T]
    return int(np.argmax(fits))


def test_of_very_many_trials_the_better_half_and_the_latest_are_told() -> None:
    nets = searched(lambda _: 0.5, 9)
    past = [
        Past(nets[number % 9], "stopped", (score,), None) for number, score in enumerate([0.9, 0.1, 0.8, 0.2, 0.3, 0.4])
    ]
    assert telling(past, 6) == [0, 1, 2, 3, 4, 5]
    assert telling(past, 4) == [0, 2, 4, 5]


@pytest.mark.parametrize(("come", "told"), [(1, [0]), (6, [0, 1, 2, 3, 4, 5]), (12, list(range(12)))])
def test_of_short_curves_the_model_is_told_every_point(come: int, told: list[int]) -> None:
    assert curves._telling_points(come) == told


@given(st.integers(13, 1_000))
def test_of_long_curves_it_is_told_of_a_dozen_points_from_the_first_to_the_last(come: int) -> None:
    told = curves._telling_points(come)
    assert (len(told), told[0], told[-1]) == (12, 0, come - 1)


def test_memory_that_something_else_took_is_put_down_to_no_net() -> None:
    nets = sorted((random_draw(f"{number}") for number in range(9)), key=curves._bytes)
    small, middle, large = nets[0], nets[4], nets[8]
    infeasible = Past(middle, "infeasible", (0.9,), None)
    fits = curves._fitting([Past(small, "complete", (0.9,), 0.9), infeasible])
    assert [fits(it) for it in (small, middle, large)] == [True, False, False]
    fits = curves._fitting([Past(large, "stopped", (0.9,), None), infeasible])
    assert all(fits(it) for it in nets)
