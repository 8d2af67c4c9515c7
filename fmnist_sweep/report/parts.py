"""What all parts of a report share: the names of nets, their finals, and a part that can't be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fmnist_sweep import finals
from fmnist_sweep.state import JobRecord, StudyState


@dataclass(frozen=True, slots=True)
class Missing:
    """In the place of a part that can't be shown.

    Attributes:
        reason: Why, as a whole sentence.
    """

    reason: str


def name_of(job: JobRecord) -> str:
    """The name of a job as the finals have it: ``trial-7``, or a lab net's own."""
    return f"trial-{job.number}" if job.kind == "trial" else job.key


def score_of(job: JobRecord) -> float | None:
    """Best validation accuracy, 0 to 1; None where there is none, or training went astray."""
    return job.best if job.state != "failed" and job.best is not None and math.isfinite(job.best) else None


def seconds_of(job: JobRecord) -> float:
    """Seconds of training by one worker: those of the last report where the job has no result."""
    if job.result is not None:
        return job.result.train_s
    return job.reports[-1].train_s if job.reports else 0.0


def finals_of(state: StudyState, name: str, seeds: Sequence[int]) -> list[JobRecord]:
    """The finals of a net, one for each seed."""
    return [state.jobs[finals.job_key(name, seed)] for seed in seeds]


def counted(number: float, noun: str, plural: str = "") -> str:
    """As in ``1 trial``, ``1,200 images``."""
    return f"{number:,.0f} {noun if number == 1 else plural or noun + 's'}"
