"""Workers that train in no time, as many as one likes: an executor whose jobs have a report whenever it is asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep.data import PreparedData
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST
from fmnist_sweep.executors import Finished, Happening, Reported
from fmnist_sweep.proposers import Task
from fmnist_sweep.trial import Report, TrialJob, TrialResult

_NOWHERE = Path("nowhere")


def curve(number: int, report_at: Sequence[float]) -> list[Report]:
    """A rising learning curve; its height is drawn by the trial's number."""
    talent = 0.5 + 0.4 * float(np.random.default_rng(number).random())
    found = []
    for place, epoch in enumerate(report_at):
        accuracy = talent * epoch / (epoch + 0.5)
        found.append(Report(place, epoch, 1 - accuracy, accuracy, 1 - accuracy, accuracy, epoch, int(epoch * 100)))
    return found


def result(reports: Sequence[Report]) -> dict[str, Any]:
    """The result of a trial with those reports, as the ledger has it."""
    return asdict(TrialResult.so_far(reports))


def nothing(task: Task) -> PreparedData:
    """Images that nobody looks at."""
    return PreparedData(_NOWHERE, _NOWHERE, task.input_shape, FASHION_MNIST.class_names, "simulated")


class Simulated:
    """See ``Executor``: the jobs take turns, a report each."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.spreads = False
        self._jobs: dict[str, TrialJob] = {}
        self._passed: dict[str, int] = {}  # reports of each job so far: its checkpoint
        self._next: deque[str] = deque()

    def submit(self, job: TrialJob, alone: bool = False) -> None:  # noqa: ARG002
        self._jobs[job.key] = job
        self._next.append(job.key)

    def happenings(self, timeout_s: float) -> list[Happening]:  # noqa: ARG002
        if not self._next:
            return []
        key = self._next.popleft()
        job, passed = self._jobs[key], self._passed.get(key, 0)
        reports = curve(int(key.rpartition("-")[2]), job.report_at)
        if passed == len(reports):
            del self._jobs[key]
            return [Finished(key, TrialResult.so_far(reports))]
        self._passed[key] = passed + 1
        return [Reported(key, reports[passed])]

    def proceed(self, key: str) -> None:
        self._next.append(key)

    def cancel(self, key: str) -> None:
        self._jobs.pop(key, None)

    def close(self) -> None:
        self._next.clear()
