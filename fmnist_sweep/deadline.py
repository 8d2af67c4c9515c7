"""When a study has to be over, and whether it has time for one more trial."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Collection, Iterable
from statistics import fmean

from fmnist_sweep import pruning
from fmnist_sweep.estimate import START_S, Paces
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import StudyState

_LOOK_AGAIN_S = 2.0


class Deadline:
    """The end of a study's time. Its last part is for the trials that are to be trained in full: see ``closing``.

    Args:
        timeout_s: Seconds that the study may take in all; None for as many as it wants.
        spent_s: Seconds that earlier runs of it took.
        config: Of its sweep.

    Attributes:
        closing: Whether no new trial is begun any more, for lack of time; once so, it stays so.
    """

    def __init__(self, timeout_s: float | None, spent_s: float, config: SweepConfig) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s - spent_s
        self._config = config
        self._look_at, self._look_after = 0, -math.inf
        self.closing = False

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._at is not None and time.monotonic() >= self._at

    def close(self, state: StudyState, workers: int, extras: Collection[str] | None = None) -> bool:
        """Whether to begin no more trials: one more might keep the best from being trained in full in time.

        Args:
            state: Of the study.
            workers: That train.
            extras: See ``closing_s``.
        """
        if self._at is None or self.closing:
            return self.closing
        trials, begun = len(state.trials()), time.monotonic()
        if trials >= self._look_at or begun >= self._look_after:
            self.closing = begun + closing_s(state, self._config, workers, extras) >= self._at
            self._look_at = math.ceil(1.001 * trials)  # it takes going through all trials
            now = time.monotonic()
            self._look_after = now + max(_LOOK_AGAIN_S, 100 * (now - begun))
        return self.closing


def closing_s(state: StudyState, config: SweepConfig, workers: int, extras: Collection[str] | None = None) -> float:
    """Seconds until a study ends that begins one more trial, the last, if that is among the best.

    Each job goes on at its own pace so far, one that has none at what arithmetic expects beside the others, the new one
    at the mean of the trials. The longest is given out first, each to the worker that is free first.

    Args:
        state: Of the study.
        config: Of its sweep.
        workers: That train.
        extras: Keys of the jobs that are trained besides the trials; None for all that there are.

    Returns:
        0 while no trial has a pace.
    """
    trials = state.trials()
    known = [job for job in trials if job.epoch]
    if not known:
        return 0.0
    paces = Paces(state.jobs.values())
    sound = [job for job in known if job.state not in ("failed", "pruned")]
    ranked = sorted(sound, key=lambda job: pruning.rank(job, config.fidelity.price), reverse=True)
    finalists = {job.key for job in ranked[: config.study.keep_models]}
    last = pruning.last_rung(trials, config.fidelity)
    left = [fmean(paces.epoch_s(job) for job in known) * max(job.train.epochs for job in trials)]
    trained = (job for job in state.jobs.values() if job.kind == "trial" or extras is None or job.key in extras)
    for job in (job for job in trained if not job.same_as):
        whole = job.kind != "trial" or job.key in finalists
        if job.state in ("waiting", "running") or (job.state == "held" and whole):
            until = float(job.train.epochs) if whole else max(last, job.epoch)
            left.append(paces.epoch_s(job) * (until - job.epoch))
    return _span((seconds + START_S for seconds in left), workers)


def _span(seconds: Iterable[float], workers: int) -> float:
    """How long ``workers`` take for jobs of so many seconds."""
    free = [0.0] * workers
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + one)
    return max(free)
