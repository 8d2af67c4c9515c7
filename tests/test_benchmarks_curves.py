"""The benchmarks of what a score says: learning curves, schedules replayed on them, the noise of seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import curves, noise, replay
from benchmarks.curves import Curve
from benchmarks.replay import Schedule
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.trial import Report

SHAPE, CLASSES = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)


def _curve(filters: int, *accuracies: float) -> Curve:
    points = (0.25, 0.5, 1.0, 2.0)
    reports = [
        Report(place, epoch, 0.5, 0.5, 0.5, accuracy, 10 * epoch, 1)
        for place, (epoch, accuracy) in enumerate(zip(points, accuracies, strict=True))
    ]
    return Curve(ArchSpec(SHAPE, CLASSES, (BlockSpec(filters),)), TrainSpec(epochs=2), tuple(reports))


def _ladder(count: int) -> list[Curve]:
    """Curves whose order is the same at every point, the later the better."""
    return [_curve(8 + place, *(level + place / 100 for level in (0.2, 0.3, 0.4, 0.5))) for place in range(count)]


def test_correlation_and_recall_of_orders_that_agree_and_that_do_not() -> None:
    final = np.arange(9.0)
    assert curves.correlation(final, final**2).rho == pytest.approx(1.0)
    assert curves.correlation(-final, final).text() == "-1.00 (-1.00 to -1.00)"
    mixed = curves.correlation(np.array([0, 2, 1, 4, 3, 5, 6, 8, 7.0]), final)
    assert mixed.low < mixed.rho < 1
    assert [curves.recall(final, final, count) for count in (1, 3, 5)] == [1, 3, 3]
    assert curves.recall(-final, final, 3) == 0
    assert sorted(curves.better_half(final).tolist()) == [4, 5, 6, 7, 8]


def test_a_replay_without_pruning_trains_everything() -> None:
    found = replay.replay(_ladder(6), Schedule("none", (1.0,)))
    assert (found.epochs, found.seconds, found.span_s) == (12.0, 120.0, 60.0)
    assert (found.starts, found.regret, found.found) == (6, 0.0, True)


def test_a_replay_of_halving_finds_the_best_for_less() -> None:
    schedule = Schedule("asha", (0.25, 1.0), finalists=1)
    found = replay.replay(_ladder(9)[::-1], schedule)
    assert found.found
    assert found.epochs < 9
    assert found.seconds == pytest.approx(10 * found.epochs)
    misled = [*_ladder(8), _curve(99, 0.1, 0.2, 0.3, 0.9)]  # a late bloomer
    missed = replay.replay(misled, schedule)
    assert not missed.found
    assert missed.regret == pytest.approx(0.9 - 0.57)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(7)), st.sampled_from([(0.25,), (0.5, 1.0), (0.25, 0.5, 1.0)]))
def test_a_replay_never_trains_more_than_all_in_full(order: list[int], rungs: tuple[float, ...]) -> None:
    ladder = _ladder(7)
    found = replay.replay([ladder[place] for place in order], Schedule("asha", rungs, finalists=2))
    assert found.epochs <= 14
    assert found.found  # the order is the same at every rung, so halving can't miss the best
    assert found.starts >= 7


def test_many_replays_are_repeatable() -> None:
    twice = [replay.many(_ladder(5), Schedule("asha", (0.5,)), times=2, trials=6, seed=3) for _ in range(2)]
    assert twice[0] == twice[1]


def test_noise_is_the_spread_over_the_seeds() -> None:
    found = {
        ("a", 1): {"last": [0.8, 0.8], "steady": [0.84, 0.85]},
        ("a", 2): {"last": [0.9, 0.9], "steady": [0.86, 0.86]},
        ("b", 1): {"last": [0.7, 0.6], "steady": [0.7, 0.7]},
        ("b", 2): {"last": [0.7, 0.6], "steady": [0.7, 0.7]},
    }
    result = noise.summed_up(found, {"seeds": 2, "train_images": 10, "epochs": 1}, quick=False)
    assert result.figures["nets"]["a"]["last"][0] == pytest.approx((0.85, 0.1 / 2**0.5))
    assert result.figures["ratio_of_spreads"] == pytest.approx([5.0, 10.0])
    assert "85.00 ± 7.07" in result.tables[0].markdown()
    assert "7.1" in result.lines[0]


def test_a_score_that_orders_nets_as_another_seed_does_agrees() -> None:
    ends = np.array([[0.1, 0.2], [0.2, 0.3], [0.3, 0.4]])
    assert noise.agreement(ends, ends) == pytest.approx(1.0)
    assert noise.agreement(-ends, ends) == pytest.approx(-1.0)
    swapped = np.array([[0.2, 0.2], [0.1, 0.3], [0.3, 0.4]])  # by one of the seeds two nets change places
    assert 0 < noise.agreement(swapped, ends) < 1
