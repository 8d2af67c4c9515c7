"""Trials as values that nobody trained, for the tests of pruning."""

from __future__ import annotations

from hypothesis import strategies as st

from fmnist_sweep.pruning import Rungs, goes_on
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.state import JobRecord, JobState
from fmnist_sweep.trial import Kind, Report
from tests.stand_ins import proposals

PROPOSAL = proposals()[0]
POINTS = (0.5, 1.0, 2.0, 3.0)
FIRST = FidelitySection(rungs=[1.0])

accuracies = st.floats(0, 1)
fields = st.lists(accuracies, min_size=1, max_size=20)
reductions = st.integers(2, 16)
rungs = st.lists(st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 7.0]), unique=True, max_size=5).map(sorted)


def trial(number: int, *scores: float, state: JobState = "running", kind: Kind = "trial") -> JobRecord:
    """A trial that has reported ``scores`` at the first of ``POINTS``."""
    reports = tuple(Report(place, POINTS[place], 1.0, 0.5, 1.0, score, 1.0, 40) for place, score in enumerate(scores))
    arch, train, drawn = PROPOSAL.arch, PROPOSAL.train, PROPOSAL.drawn
    key, print_ = f"trial-{number:04d}", PROPOSAL.fingerprint
    return JobRecord(key, kind, number, arch, train, print_, drawn, POINTS, state=state, reports=reports)


def at_one(scores: list[float]) -> list[JobRecord]:
    """Trials that have come to one epoch."""
    return [trial(number, 0.5, score) for number, score in enumerate(scores)]


def asha(reduction: int) -> FidelitySection:
    return FidelitySection(rungs=[1.0], reduction=reduction)


def among(job: JobRecord, others: list[JobRecord], fidelity: FidelitySection) -> bool:
    """Whether a trial goes on beside others."""
    return goes_on(job, Rungs([*others, job]), fidelity)
