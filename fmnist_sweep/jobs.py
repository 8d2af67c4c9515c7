"""What a worker is given for a job of the ledger, and which jobs' weights stay."""

from __future__ import annotations

from collections.abc import Sequence

from fmnist_sweep.data import PreparedData
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.trial import Keep, TrialJob

_MOST_CHECKPOINTS = 100
_WORTH_A_START_S = 20.0


def job_of(job: JobRecord, rungs: Sequence[float], data: PreparedData, folder: StudyFolder) -> TrialJob:
    """What a worker needs.

    The lab judges a net as it is after its last epoch, and so do the finals. Elsewhere the last steps are scored where
    trials are compared; inside the first epoch they alone, as each scoring takes a sixth of the training up to there.
    """
    keep: Keep = "last" if job.kind == "final" else "best"
    compared_at = () if job.kind == "final" else (*rungs, job.report_at[-1])
    steady_at = tuple(point for point in job.report_at if point in compared_at)
    return TrialJob(
        job.key,
        job.arch,
        job.train,
        job.report_at,
        data,
        folder.job(job.key),
        keep,
        steady_at,
        steady_alone_at=tuple(point for point in steady_at if point < 1),
    )


def may_spread(job: JobRecord) -> bool:
    """Whether so much of a trial is left, at its own pace, that a new worker with all cores pays.

    Not of the lab's nets and of the finals, whose seconds of training are compared.
    """
    last = job.reports[-1]
    return job.kind == "trial" and last.train_s / last.epoch * (job.report_at[-1] - last.epoch) > _WORTH_A_START_S


def crowded_out(state: StudyState, latest: str) -> list[str]:
    """Of the trials that are set aside the one, if any, that loses its checkpoint, so that these don't fill the disk.

    The best ``_MOST_CHECKPOINTS`` keep theirs. A trial that goes on later all the same is trained from its start once
    more, to the same figures.

    Args:
        state: The study's.
        latest: Key of the one that was just set aside; asked whenever one is.

    Returns:
        Its key.
    """
    held = state.trials("held")
    if len(held) <= _MOST_CHECKPOINTS:
        return []
    ranked = [job.key for job in sorted(held, key=lambda job: (-job.reports[-1].standing, job.number))]
    return [ranked[_MOST_CHECKPOINTS] if latest in ranked[:_MOST_CHECKPOINTS] else latest]


def no_longer_kept(state: StudyState, keep_models: int) -> list[JobRecord]:
    """Trials whose weights are kept and that are not among the best ``keep_models`` any more."""
    best = {job.key for job in state.ranked()[:keep_models]}
    return [job for job in state.trials("complete") if job.kept and job.key not in best]
