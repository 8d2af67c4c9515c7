"""Small statistics of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing: how many, their median and their quartiles."""

    n: int
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of one value or more; the quartiles of a few values are interpolated."""
        array = np.asarray(list(values), np.float64)
        low, median, high = np.quantile(array, [0.25, 0.5, 0.75])
        return cls(len(array), float(median), float(low), float(high))

    def text(self, form: str = ",.0f", scale: float = 1.0) -> str:
        """As in ``12.3 (12.1-12.5)``."""
        median, low, high = (f"{scale * value:{form}}" for value in (self.median, self.low, self.high))
        return f"{median} ({low} to {high})" if self.n > 1 else median

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean for ratios: swapping the sides inverts it."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two means, with its standard error (Welch, 1947) where both sides have two values or more."""

    estimate: float
    standard_error: float | None

    @classmethod
    def of(cls, a: Sequence[float], b: Sequence[float]) -> Difference:
        """The mean of ``a`` less the mean of ``b``."""
        estimate = float(np.mean(a) - np.mean(b))
        if min(len(a), len(b)) < 2:
            return cls(estimate, None)
        return cls(estimate, math.sqrt(sum(float(np.var(side, ddof=1)) / len(side) for side in (a, b))))

    def text(self, form: str = "+.2f", scale: float = 1.0) -> str:
        """As in ``+0.12 ± 0.10``."""
        error = "" if self.standard_error is None else f" ± {scale * self.standard_error:{form.lstrip('+')}}"
        return f"{scale * self.estimate:{form}}{error}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope of ``y`` over ``x`` and its standard error."""
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centred = across - across.mean()
    found = float(centred @ up / (centred @ centred))
    rest = up - up.mean() - found * centred
    freedom = max(len(across) - 2, 1)
    return found, math.sqrt(float(rest @ rest) / freedom / float(centred @ centred))


def clock(seconds: float) -> str:
    """Hours, minutes and seconds for people."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
