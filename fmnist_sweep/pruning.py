"""Which trials train on: successive halving over rungs, as pure functions of how the trials stand.

A trial that comes to a rung and is not among the best there is held: its worker ends, its checkpoint stays.
It is taken up again if it belongs to the best after all, and is pruned when the study ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from statistics import median

from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord

_MEDIAN_NEEDS = 5


def report_points(epochs: int, rungs: Sequence[float]) -> tuple[float, ...]:
    """Where a trial reports: at the rungs below one epoch, then after every epoch."""
    return (*(rung for rung in rungs if rung < 1), *(float(epoch) for epoch in range(1, epochs + 1)))


def at_rung(job: JobRecord, fidelity: FidelitySection) -> bool:
    """Whether the trial's last report is one where trials are compared; the last epoch never is."""
    return (
        job.kind == "trial"
        and fidelity.pruner != "none"
        and bool(job.reports)
        and job.epoch in fidelity.rungs
        and job.epoch < job.report_at[-1]
    )


def goes_on(job: JobRecord, trials: Iterable[JobRecord], fidelity: FidelitySection) -> bool:
    """Whether a trial trains on past its last report.

    ``asha`` is the asynchronous rule of successive halving (Li et al., A System for Massively Parallel
    Hyperparameter Tuning, MLSys 2020, algorithm 2): of n trials that have come to a rung, the best
    floor(n / reduction) go on, whenever they came. ``median`` lets those go on that are not below the
    median of the others there, once there are five of them.
    """
    if not at_rung(job, fidelity):
        return True
    score = score_at(job, job.epoch)
    others = [found for other in trials if other.key != job.key and (found := score_at(other, job.epoch)) is not None]
    if score is None:
        return True
    if fidelity.pruner == "median":
        return len(others) < _MEDIAN_NEEDS or score >= median(others)
    better = sum(1 for other in others if other > score)
    return better < (len(others) + 1) // fidelity.reduction


def score_at(job: JobRecord, epoch: float) -> float | None:
    """What a trial is compared by at a report point, see ``Report.standing``; None if it has not come there."""
    return next((report.standing for report in job.reports if report.epoch == epoch), None)


def _scores(trials: Iterable[JobRecord], epoch: float) -> list[float]:
    return [found for job in trials if (found := score_at(job, epoch)) is not None]


def promoted(trials: Sequence[JobRecord], fidelity: FidelitySection) -> JobRecord | None:
    """The held trial to take up again: of those that belong to the best now, the furthest, best one."""
    held = [job for job in trials if job.state == "held"]
    if fidelity.pruner != "asha":
        return max((job for job in held if goes_on(job, trials, fidelity)), key=_merit, default=None)
    scores = {epoch: sorted(_scores(trials, epoch)) for epoch in {job.epoch for job in held}}

    def among_the_best(job: JobRecord) -> bool:
        """What ``goes_on`` says, without going through all trials for each."""
        there = scores[job.epoch]
        better = len(there) - bisect_right(there, job.reports[-1].standing)
        return not at_rung(job, fidelity) or better < len(there) // fidelity.reduction

    return max((job for job in held if among_the_best(job)), key=_merit, default=None)


def last_chance(trials: Sequence[JobRecord], fidelity: FidelitySection, finalists: int) -> JobRecord | None:
    """The held trial to take up once no new one will come, so that ``finalists`` trials are trained in full.

    None while trials that might yet do better are still below the last rung.
    """
    last = max((rung for rung in fidelity.rungs if any(rung < job.report_at[-1] for job in trials)), default=0.0)
    under_way = [job for job in trials if job.state in ("waiting", "running")]
    if any(job.epoch < last for job in under_way):
        return None
    complete = [job for job in trials if job.state == "complete"]
    if len(complete) + len(under_way) >= finalists:
        return None
    return max((job for job in trials if job.state == "held"), key=_merit, default=None)


def flat(trials: Sequence[JobRecord], patience: int) -> bool:
    """Whether the search has gone flat: the last ``patience`` trials have brought no better champion.

    The champion is the trial with the best validation accuracy so far. Only trials proposed after it count, and
    none of them may still be training, as it might yet become the best. (One that is set aside was not among the
    best of its rung.)
    """
    champion = max((job for job in trials if job.reports), key=lambda job: (job.best or 0.0, -job.number), default=None)
    if champion is None:
        return False
    later = [job for job in trials if job.number > champion.number]
    return len(later) >= patience and not any(job.state in ("waiting", "running") for job in later)


def _merit(job: JobRecord) -> tuple[float, float, int]:
    return job.epoch, job.reports[-1].standing, -job.number
