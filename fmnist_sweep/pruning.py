"""Which trials train on: successive halving over rungs, as pure functions of how the trials stand.

A trial that comes to a rung and is not among the best there is held: its worker ends, its checkpoint stays.
It is taken up again if it belongs to the best after all, and is pruned when the study ends.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from fmnist_sweep import arithmetic
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord
from fmnist_sweep.trial import Report

Worth = Callable[[Sequence[JobRecord]], Sequence[float]]

_MEDIAN_NEEDS = 5
_LEVEL_S = 0.0005  # of training an image: the time at which the price is nothing, so that merits stay near accuracies


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


def merit(job: JobRecord, report: Report, price: float) -> float:
    """What a trial is compared by at a report: its accuracy there, less the price of its time.

    The time is what arithmetic expects of the net (``arithmetic.image_s``), not what was measured, so that the same
    seed gives the same trials on a busy machine too.

    Args:
        price: ``FidelitySection.price``, percentage points for a doubling of the time.
    """
    cost = price / 100 * math.log2(arithmetic.image_s(job.arch, job.train) / _LEVEL_S) if price else 0.0
    return report.standing - cost


class Rungs:
    """How the trials of a study stand at their report points, so that no question goes through all trials.

    Args:
        trials: Those that there are; each trial that changes is told by ``take``.
        price: See ``merit``.
    """

    def __init__(self, trials: Iterable[JobRecord] = (), price: float = 0.0) -> None:
        self._price = price
        self._scores: dict[float, list[tuple[float, int]]] = {}  # by epoch: merit, number below 0; ascending
        self._counted: dict[str, int] = {}  # reports of each trial that are in _scores
        self._held: dict[float, list[tuple[float, int, JobRecord]]] = {}  # by epoch: the best, the earlier one last
        self._set_aside: dict[str, float] = {}  # pruned trials, and the epochs where they ended
        self._place: dict[str, tuple[float, tuple[float, int]]] = {}  # of each held trial in _held
        for job in trials:
            self.take(job)

    def take(self, job: JobRecord) -> None:
        """Takes in how a trial stands now."""
        for report in job.reports[self._counted.get(job.key, 0) :]:
            if report.epoch < job.report_at[-1]:  # an end is no rung, though others may have one there
                insort(self._scores.setdefault(report.epoch, []), (self.merit(job, report), -job.number))
        self._counted[job.key] = len(job.reports)
        if job.key in self._place:
            epoch, place = self._place.pop(job.key)
            del self._held[epoch][bisect_left(self._held[epoch], place, key=lambda it: it[:2])]
        if job.state == "pruned":
            self._set_aside[job.key] = job.epoch
        if job.state == "held":
            place = (self.merit(job, job.reports[-1]), -job.number)
            insort(self._held.setdefault(job.epoch, []), (*place, job), key=lambda it: it[:2])
            self._place[job.key] = job.epoch, place

    def merit(self, job: JobRecord, report: Report) -> float:
        """See ``merit``."""
        return merit(job, report, self._price)

    def at(self, epoch: float) -> Sequence[tuple[float, int]]:
        """What trials that have come to a report point before their end are compared by there, ascending: their merits,
        and of equals the earlier one is better, so their numbers below 0."""
        return self._scores.get(epoch, [])

    def set_aside_at(self, epoch: float) -> int:
        """How many trials were pruned at a report point, as at the end of an earlier run of the study."""
        return sum(ended == epoch for ended in self._set_aside.values())

    def held(self) -> list[list[JobRecord]]:
        """The held trials of each report point that has any, the furthest point first, the best of a point last."""
        return [[job for _, _, job in held] for _, held in sorted(self._held.items(), reverse=True) if held]

    def held_at(self, epoch: float) -> list[JobRecord]:
        """The held trials of a report point, the best last."""
        return [job for _, _, job in self._held.get(epoch, [])]


def goes_on(job: JobRecord, rungs: Rungs, fidelity: FidelitySection, worth: Worth | None = None) -> bool:
    """Whether a trial, one of those in ``rungs``, trains on past its last report.

    ``asha`` is the asynchronous rule of successive halving (Li et al., A System for Massively Parallel
    Hyperparameter Tuning, MLSys 2020, algorithm 2): of n trials that have come to a rung, the best
    floor(n / reduction) go on, whenever they came. ``median`` lets those go on that are not below the
    median of the others there, once there are five of them. With ``full_training`` at the end, nobody goes past the
    last rung by this rule; see ``last_chance``.

    Args:
        job: The trial.
        rungs: All trials.
        fidelity: The rule.
        worth: Says how much it is worth that each of some trials trains on, where somebody knows better than their
            order now. Then, for ``asha``, of n trials that have come to a rung floor(n / reduction) go on and no more:
            each time one may, that of those waiting there which is worth most.
    """
    if not at_rung(job, fidelity):
        return True
    there, score = rungs.at(job.epoch), rungs.merit(job, job.reports[-1])
    own = (score, -job.number)
    if fidelity.pruner == "median":
        others = [merit for merit, number in there if number != -job.number]
        return len(others) < _MEDIAN_NEEDS or score >= median(others)
    if not _is_open(job, fidelity):
        return False
    if worth is not None:
        beside = [it for it in rungs.held_at(job.epoch) if it.key != job.key]
        return _chosen([*_ready(beside, fidelity), job], len(beside) + 1, rungs, fidelity, worth) is job
    return len(there) - bisect_right(there, own) < len(there) // fidelity.reduction


def _chosen(
    ready: Sequence[JobRecord], waiting: int, rungs: Rungs, fidelity: FidelitySection, worth: Worth
) -> JobRecord | None:
    """Who of those at a rung that may go on now does: None if as many have as are to.

    Args:
        ready: They, one at least.
        waiting: How many wait there, those that may not go on yet counted.
        rungs: All trials.
        fidelity: The rule.
        worth: See ``goes_on``.
    """
    epoch = ready[0].epoch
    came = len(rungs.at(epoch))
    if came - waiting - rungs.set_aside_at(epoch) >= came // fidelity.reduction:
        return None
    values = worth(ready)
    return max(zip(values, ready, strict=True), key=lambda it: it[0])[1]


def _ready(held: Sequence[JobRecord], fidelity: FidelitySection) -> Sequence[JobRecord]:
    """Those of a rung that may go on before the end; with one number of epochs all of them or none."""
    return held if fidelity.full_training == "at_once" else [job for job in held if _is_open(job, fidelity)]


def score_at(job: JobRecord, epoch: float) -> float | None:
    """How accurate a trial is at a report point, see ``Report.standing``; None if it has not come there."""
    return next((report.standing for report in job.reports if report.epoch == epoch), None)


def promoted(rungs: Rungs, fidelity: FidelitySection, worth: Worth | None = None) -> JobRecord | None:
    """The held trial to take up again: of those that are to go on now, the furthest, best one; see ``goes_on``."""
    for held in rungs.held():
        ready = held if not at_rung(held[-1], fidelity) else _ready(held, fidelity)
        if not ready:
            continue
        if worth is None or not _is_open(ready[-1], fidelity):
            best = ready[-1] if goes_on(ready[-1], rungs, fidelity) else None
        else:
            best = _chosen(ready, len(held), rungs, fidelity, worth)
        if best is not None:
            return best
    return None


def _is_open(job: JobRecord, fidelity: FidelitySection) -> bool:
    """Whether a trial is where trials are chosen from, and may go on before the end of the study."""
    return at_rung(job, fidelity) and not (
        fidelity.full_training == "at_end" and job.epoch == last_rung([job], fidelity)
    )


def last_chance(trials: Sequence[JobRecord], fidelity: FidelitySection, finalists: int) -> JobRecord | None:
    """The held trial to take up once no new one will come, so that ``finalists`` trials are trained in full.

    With ``full_training`` at the end these are the best at their last rungs, whatever was trained in full before, as by
    an earlier run of fewer trials. None while trials below theirs might yet do better.
    """
    under_way = [job for job in trials if job.state in ("waiting", "running")]
    below = sum(job.epoch < last_rung([job], fidelity) for job in under_way)
    if fidelity.full_training == "at_end":
        sure = _best_at_last_rung(trials, fidelity)[: max(finalists - below, 0)]
        due = next((job for job in sure if job.state == "held"), None)
        if due is not None:
            return due
    complete = sum(job.state == "complete" for job in trials)
    if below or complete + len(under_way) >= finalists:
        return None
    return max((job for job in trials if job.state == "held"), key=lambda job: rank(job, fidelity.price), default=None)


def last_rung(trials: Iterable[JobRecord], fidelity: FidelitySection) -> float:
    """The last rung before the end of a trial; 0 where there is none."""
    ends = {job.report_at[-1] for job in trials}
    return max((rung for rung in fidelity.rungs if any(rung < end for end in ends)), default=0.0)


def _best_at_last_rung(trials: Iterable[JobRecord], fidelity: FidelitySection) -> list[JobRecord]:
    """The sound trials that have come to their last rung, the best there first."""
    there = []
    for job in (job for job in trials if job.state != "failed"):
        last = last_rung([job], fidelity)
        there += [(merit(job, it, fidelity.price), -job.number, job) for it in job.reports if it.epoch == last]
    return [job for _, _, job in sorted(there, key=lambda it: it[:2], reverse=True)]


def flat(trials: Sequence[JobRecord], patience: int) -> bool | None:
    """Whether the search has gone flat: the last ``patience`` trials have brought no better champion.

    The champion is the sound trial with the best validation accuracy so far. Only trials proposed after it count. (One
    that is set aside was not among the best of its rung.)

    Returns:
        None where that depends on trials that still train, each of which might yet become the best.
    """
    scored = (job for job in trials if job.reports and job.state != "failed")
    champion = max(scored, key=lambda job: (job.best or 0.0, -job.number), default=None)
    if champion is None:
        return False
    later = [job for job in trials if job.number > champion.number]
    if len(later) < patience:
        return False
    return None if any(job.state in ("waiting", "running") for job in later) else True


def rank(job: JobRecord, price: float) -> tuple[float, float, int]:
    """How a trial with reports stands among all, to sort by: the further first, then the better, then the earlier."""
    return job.epoch, merit(job, job.reports[-1], price), -job.number
