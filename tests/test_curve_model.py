"""The model of learning curves: its gradient, what it learns, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

from fmnist_sweep.curve_model import CurveModel, Observations

POINTS = (0.25, 1.0, 5.0)
END = math.log2(POINTS[-1])
NONE = np.array([-1])


def talent(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the first feature is worth, in logarithms of the error; the second is worth nothing."""
    found: NDArray[np.float64] = 0.3 * np.sin(2.0 * x[:, 0])
    return found


def curves(nets: int, points: tuple[float, ...] = POINTS, seed: int = 0, noise: float = 0.02) -> Observations:
    """Curves of random nets that are all scored at ``points``, the later ones lower."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(nets, 2))
    net = np.repeat(np.arange(nets), len(points))
    place = np.tile([POINTS.index(point) for point in points], nets)
    y = talent(x)[net] - 0.5 * place + noise * rng.normal(size=len(net))
    return Observations(
        x[net],
        np.log2(np.array(POINTS)[place]),
        place,
        net,
        np.zeros(len(net), np.bool_),
        np.zeros(len(net), np.bool_),
        y,
    )


def at_end(
    model: CurveModel, x: NDArray[np.float64], net: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What nets come to at the last point."""
    return model.predict(x, np.full(len(x), END), np.full(len(x), len(POINTS) - 1), net)


def value_of(scales: NDArray[np.float64], model: CurveModel) -> float:
    return model.surprise(scales)[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_of_the_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = curves(8, seed=seed, noise=0.3)
    model = CurveModel(
        Observations(seen.x, seen.doublings, seen.place, seen.net, rng.random(24) < 0.4, rng.random(24) < 0.2, seen.y),
        np.zeros(7),
    )
    scales = rng.normal(-0.5, 0.7, 7)
    value, gradient = model.surprise(scales)
    found = optimize.approx_fprime(scales, value_of, 1e-6, model)
    assert math.isfinite(value)
    np.testing.assert_allclose(gradient, found, rtol=1e-3, atol=1e-3)


@given(st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_the_search_for_scales_meets_no_infinities(places: list[float]) -> None:
    model = CurveModel(curves(8), np.zeros(7))
    low, high = model.bounds
    value, gradient = model.surprise(low + np.array(places) * (high - low))
    assert math.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_search_for_scales_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[NDArray[np.float64]] = []

    def endless_slope(_: CurveModel, scales: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        tried.append(scales)
        return -float(scales.sum()), -np.ones(len(scales))

    monkeypatch.setattr(CurveModel, "surprise", endless_slope)
    model = CurveModel(curves(8))
    low, high = model.bounds
    assert len(tried) > 1
    assert all((low - 1e-9 <= scales).all() and (scales <= high + 1e-9).all() for scales in tried)


def test_the_scales_are_at_a_maximum_and_tell_what_matters() -> None:
    model = CurveModel(curves(20))
    _, gradient = model.surprise(model.scales)
    _, before = model.surprise(np.zeros(7))
    assert np.abs(gradient).max() < 0.02 * np.abs(before).max()
    matters, does_not = np.exp(model.scales[:2])
    assert does_not > 2 * matters


def test_new_nets_are_predicted_but_for_how_bad_the_worst_are() -> None:
    model = CurveModel(curves(30))
    drawn = np.random.default_rng(1).uniform(-1.5, 1.5, (60, 2))
    x = drawn[np.argsort(talent(drawn))[:40]]
    mean, spread = at_end(model, x, np.full(40, -1))
    wrong = mean - (talent(x) - 1.0)
    assert np.abs(wrong).mean() < 0.06
    assert np.mean(np.abs(wrong) < 3 * spread) > 0.9


def test_of_nets_unlike_all_the_model_expects_what_the_better_half_come_to() -> None:
    seen = curves(30)
    mean, _ = at_end(CurveModel(seen), np.array([[500.0, 500.0]]), NONE)
    there = np.sort(seen.y[seen.place == 2])
    assert there[0] < mean[0] < np.median(there)


def test_how_bad_a_bad_net_is_changes_nothing() -> None:
    seen = curves(30)
    worst = seen.y == seen.y[seen.place == 2].max()
    worse = replace(seen, y=np.where(worst, seen.y + 50.0, seen.y))
    x = np.random.default_rng(1).uniform(-1.5, 1.5, (10, 2))
    cut = replace(seen, y=np.where(worst, seen.y + 5.0, seen.y))
    assert np.array_equal(
        at_end(CurveModel(worse), x, np.full(10, -1))[0], at_end(CurveModel(cut), x, np.full(10, -1))[0]
    )


def test_short_trainings_teach_what_long_ones_come_to() -> None:
    """Twenty nets were stopped early and five were not: the order of all at the end is that of their beginnings."""
    short, long = curves(20, POINTS[:1]), curves(5, seed=7)
    both = Observations(
        np.concatenate([short.x, long.x]),
        np.concatenate([short.doublings, long.doublings]),
        np.concatenate([short.place, long.place]),
        np.concatenate([short.net, long.net + 20]),
        np.concatenate([short.single, long.single]),
        np.concatenate([short.sure, long.sure]),
        np.concatenate([short.y, long.y]),
    )
    model = CurveModel(both)
    mean, _ = at_end(model, short.x, short.net)
    assert np.corrcoef(mean, talent(short.x))[0, 1] > 0.95


def test_it_is_surer_of_what_it_has_seen() -> None:
    seen = curves(10)
    model = CurveModel(seen)
    _, known = at_end(model, seen.x[:1], seen.net[:1])
    _, near = at_end(model, seen.x[:1], NONE)
    _, far = at_end(model, seen.x[:1] + 50.0, NONE)
    assert known[0] < near[0] < far[0]


def test_what_is_believed_is_learnt_with_the_same_scales() -> None:
    seen = curves(10)
    model, x = CurveModel(seen), np.array([[4.0, 0.0]])
    before, wide = at_end(model, x, NONE)
    told = CurveModel(seen.with_believed(x, np.array([END]), np.array([2]), np.array([10]), before - 1.0), model.scales)
    after, narrow = at_end(told, x, NONE)
    assert np.array_equal(told.scales, model.scales)
    assert after[0] < before[0] - 0.5
    assert narrow[0] < wide[0]


def test_one_observation_is_enough() -> None:
    seen = Observations(
        np.zeros((1, 0)),
        np.zeros(1),
        np.zeros(1, int),
        np.zeros(1, int),
        np.ones(1, np.bool_),
        np.zeros(1, np.bool_),
        np.ones(1),
    )
    mean, spread = CurveModel(seen).predict(np.zeros((3, 0)), np.zeros(3), np.zeros(3, np.int64), np.full(3, -1))
    np.testing.assert_allclose(mean, 1.0)
    assert np.isfinite(spread).all()
