"""When to stop a trial early: successive halving over the rungs, as a pure function of the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fmnist_sweep.config import FidelitySection
from fmnist_sweep.state import JobRecord


def rung_places(report_at: tuple[float, ...], rungs: Sequence[float]) -> tuple[int, ...]:
    """Indices into ``report_at`` at which trials are compared; the last report is never one of them."""
    return tuple(place for place, epoch in enumerate(report_at[:-1]) if epoch in rungs)


def report_points(epochs: int, rungs: Sequence[float]) -> tuple[float, ...]:
    """Where a trial reports: at the rungs below one epoch, then after every epoch."""
    return (*(rung for rung in rungs if rung < 1), *(float(epoch) for epoch in range(1, epochs + 1)))


def halving_stops(score: float, others: Sequence[float], reduction: int) -> bool:
    """Whether a trial stops at a rung: it is not among the best 1/reduction that have come there.

    The asynchronous rule of successive halving (Li et al., A System for Massively Parallel
    Hyperparameter Tuning, MLSys 2020, algorithm 2) in its stopping form: the decision falls as the
    trial comes, against those that came before, and is not taken back. While fewer than
    ``reduction`` have come, only a trial worse than the best of them stops.

    Args:
        score: Of the trial at this rung; higher is better.
        others: Scores of all other trials that have come to this rung.
        reduction: The eta of successive halving.
    """
    better = sum(1 for other in others if other > score)
    allowed = max(1, math.floor((len(others) + 1) / reduction))
    return better >= allowed


def scores_at(jobs: Sequence[JobRecord], epoch: float, but: str) -> list[float]:
    """Validation accuracy at ``epoch`` of every job that reported there, the job ``but`` left out."""
    return [report.val_accuracy for job in jobs if job.key != but for report in job.reports if report.epoch == epoch]


def compares_at(section: FidelitySection, report_at: tuple[float, ...], place: int) -> bool:
    """Whether a trial may be stopped at this report."""
    return section.pruner != "none" and place in rung_places(report_at, section.rungs)
