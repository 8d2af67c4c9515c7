"""Differences and probabilities as people read them."""

from __future__ import annotations


def points(fraction: float) -> str:
    """A difference in points, with its sign; a digit more where it would look like nothing; +0.00 for nothing."""
    shown = 100 * fraction
    return f"{shown:+.3f}" if 0.0005 <= abs(shown) < 0.005 else f"{round(shown, 2) + 0.0:+.2f}"


def probability(p: float) -> str:
    """As in ``0.031``; a digit more where it would look like the level of 0.05 itself, and none is 0."""
    if p < 0.0005:
        return "<0.001"
    return f"{p:.4f}" if f"{p:.3f}" == "0.050" else f"{p:.3f}"
