"""Learning curves of configurations that were all trained in full, and what their beginnings say of their ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.errors import UsageError
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """One configuration, trained in full.

    Attributes:
        arch: The net.
        train: The recipe.
        reports: One for each report point.
    """

    arch: ArchSpec
    train: TrainSpec
    reports: tuple[Report, ...]

    @property
    def end(self) -> float:
        """What finalists are chosen by, see ``StudyState.finalists``."""
        return self.reports[-1].standing


def of_state(state: StudyState) -> list[Curve]:
    """The curves of a study's complete trials.

    Raises:
        UsageError: There are fewer than four, or trials have other report points.
    """
    trials = state.trials("complete")
    if len(trials) < 4 or len({job.report_at for job in trials}) > 1:
        raise UsageError(
            f"study {state.study['name']!r} has {len(trials)} trials trained in full; "
            "valid: 4 or more, all with the same report points"
        )
    return [Curve(job.arch, job.train, job.reports) for job in trials]


@dataclass(frozen=True, slots=True)
class Scores:
    """Curves as arrays.

    Attributes:
        points: The report points, in epochs.
        standing: What trials are compared by, see ``Report.standing``, shape (curves, points).
    """

    points: tuple[float, ...]
    standing: Floats

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> Scores:
        """Of curves with the same report points."""
        return cls(
            tuple(report.epoch for report in curves[0].reports),
            np.array([[report.standing for report in curve.reports] for curve in curves]),
        )


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation, with a 95 % interval from a bootstrap over configurations."""

    rho: float
    low: float
    high: float

    def text(self) -> str:
        """As in ``0.91 (0.80 to 0.96)``."""
        return f"{self.rho:.2f} ({self.low:.2f} to {self.high:.2f})"


def correlation(early: Floats, final: Floats, *, draws: int = 10_000, seed: int = 0) -> Correlation:
    """How far the order at an early report point is the final order.

    Args:
        early: Accuracies, shape (configurations,).
        final: Of the same configurations.
        draws: Bootstrap samples; one in which all are equal has no correlation and is left out.
        seed: Of the draws.
    """
    chosen = np.random.default_rng(seed).integers(0, len(early), (draws, len(early)))
    a, b = (stats.rankdata(side[chosen], axis=1) for side in (early, final))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    drawn = (a * b).sum(axis=1)[size > 0] / size[size > 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Correlation(float(stats.spearmanr(early, final).statistic), float(low), float(high))


def recall(early: Floats, final: Floats, best: int, share: float = 1 / 3) -> int:
    """How many of the ``best`` configurations in the end are in the best ``share`` at an early report point."""
    kept = set(_order(early)[: math.ceil(share * len(early))])
    return len(kept & set(_order(final)[:best]))


def better_half(final: Floats) -> NDArray[np.intp]:
    """Places of the better half of the configurations, one more where their number is odd."""
    return np.array(_order(final)[: (len(final) + 1) // 2])


def _order(values: Iterable[float]) -> list[int]:
    """Places, best value first, the earlier one first where equal."""
    listed = list(values)
    return sorted(range(len(listed)), key=lambda place: (-listed[place], place))
