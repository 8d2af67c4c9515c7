"""Trains jobs on the product's own workers: its executor, its fresh pinned processes, its ``run_trial``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors import Died, Failed, Finished, Happening, Reported
from fmnist_sweep.executors.local import LocalExecutor, auto_workers
from fmnist_sweep.trial import Report, TrialJob, TrialResult

_TICK_S = 0.5


@dataclass(slots=True)
class Heard:
    """What was heard of one job.

    Attributes:
        reports: In order.
        times: When each report came, in seconds of ``time.perf_counter``.
        result: Once the job has ended.
    """

    reports: list[Report] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    result: TrialResult | None = None

    @property
    def epoch(self) -> float:
        """Epochs reported so far."""
        return self.reports[-1].epoch if self.reports else 0.0

    def at(self, epoch: float) -> Report:
        """The report of a report point."""
        return next(report for report in self.reports if report.epoch == epoch)

    def came(self, epoch: float) -> float:
        """When the report of a report point came."""
        return next(time for report, time in zip(self.reports, self.times, strict=True) if report.epoch == epoch)


Enough = Callable[[Mapping[str, Heard]], bool]


def train(
    jobs: Sequence[TrialJob],
    *,
    log: Path,
    workers: int = 0,
    alone: bool = False,
    enough: Enough = lambda _: False,
    ended: Callable[[str, Heard], None] = lambda _key, _heard: None,
) -> dict[str, Heard]:
    """Trains ``jobs`` in their order, as many at a time as there are workers.

    Args:
        jobs: What to train, each from its beginning: a worker reports no point that another has reported.
        log: Where the workers' libraries print.
        workers: At a time; as many as the product would use, unless told.
        alone: Whether they train one after the other, each with what all workers have.
        enough: Asked after each report; when it says so, all workers are ended.
        ended: Told of each job that is trained to its end.

    Raises:
        FatalError: A job failed or its worker died.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    executor = LocalExecutor(workers or auto_workers(), log=log)
    heard = {job.key: Heard() for job in jobs}
    checkpoints = {job.key: job.checkpoint for job in jobs}
    for checkpoint in checkpoints.values():
        checkpoint.unlink(missing_ok=True)
    waiting, running = list(jobs), set[str]()
    try:
        while waiting or running:
            while waiting and len(running) < (1 if alone else executor.slots):
                executor.submit(waiting[0], alone=alone)
                running.add(waiting.pop(0).key)
            for happening in executor.happenings(_TICK_S):
                _take(happening, heard[happening.key], executor)
                if isinstance(happening, Finished):
                    running.discard(happening.key)
                    checkpoints[happening.key].unlink(missing_ok=True)
                    ended(happening.key, heard[happening.key])
                if enough(heard):
                    return heard
    finally:
        executor.close()
    return heard


def _take(happening: Happening, heard: Heard, executor: LocalExecutor) -> None:
    if isinstance(happening, Reported):
        heard.times.append(time.perf_counter())
        heard.reports.append(happening.report)
        executor.proceed(happening.key)
    elif isinstance(happening, Finished):
        heard.result = happening.result
    elif isinstance(happening, (Failed, Died)):
        raise FatalError(f"{happening.key}: {happening.message}")
