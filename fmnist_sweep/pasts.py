"""What a proposer is told of the trials so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fmnist_sweep import pruning
from fmnist_sweep.proposers import Judge, Past, Proposal, Proposer
from fmnist_sweep.state import JobRecord

_DIVERGED_VALUE = 0.0


class Pasts:
    """How each trial stands, made anew only where the trial has changed.

    Args:
        price: See ``pruning.merit``.
    """

    def __init__(self, price: float) -> None:
        self._price = price
        self._made: dict[str, tuple[JobRecord, Past]] = {}

    def of(self, job: JobRecord) -> Past:
        """How a trial stands; a diverged one teaches the proposer that the place is bad."""
        known = self._made.get(job.key)
        if known is None or known[0] is not job:
            known = self._made[job.key] = (job, self._past(job))
        return known[1]

    def _past(self, job: JobRecord) -> Past:
        scores = tuple(pruning.merit(job, report, self._price) for report in job.reports)
        proposal = Proposal(job.arch, job.train, job.drawn)
        if job.state == "failed":
            if job.reason.startswith("diverged"):
                return Past(proposal, "complete", scores, _DIVERGED_VALUE)
            return Past(proposal, "infeasible" if job.reason.startswith("memory") else "failed", scores, None)
        if job.state == "complete":
            return Past(proposal, "complete", scores, job.standing)
        return Past(proposal, "stopped" if job.state in ("held", "pruned") else "running", scores, None)


def judging(proposer: Proposer, pasts: Pasts, trials: Callable[[], Sequence[JobRecord]]) -> pruning.Worth | None:
    """How ``proposer`` judges some of the study's ``trials``; None where it doesn't."""
    if not isinstance(proposer, Judge):
        return None
    return lambda jobs: proposer.worth([pasts.of(job) for job in trials()], [job.number for job in jobs])
