"""Differences and probabilities as people read them."""

from __future__ import annotations

import pytest

from fmnist_sweep.wording import points, probability


@pytest.mark.parametrize(
    ("p", "told"),
    [(1.0, "1.000"), (0.0312, "0.031"), (0.0496, "0.0496"), (0.0004, "<0.001"), (0.0, "<0.001"), (0.0006, "0.001")],
)
def test_no_probability_is_nothing_and_none_looks_like_the_level(p: float, told: str) -> None:
    assert probability(p) == told


@pytest.mark.parametrize(
    ("fraction", "told"), [(0.0123, "+1.23"), (-0.0123, "-1.23"), (0.00003, "+0.003"), (-0.0, "+0.00"), (1e-9, "+0.00")]
)
def test_no_difference_has_a_sign_for_nothing(fraction: float, told: str) -> None:
    assert points(fraction) == told
