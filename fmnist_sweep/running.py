"""The jobs that train now, and how long each may stay silent."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fmnist_sweep import arithmetic
from fmnist_sweep.state import JobRecord
from fmnist_sweep.trial import Report

_FIRST_REPORT_S = 900.0
_SLOWEST = 10.0  # times what is expected
_HALT_S = 30.0  # between two looks: this process was halted, and its workers with it


class Running:
    """The jobs that have a worker.

    Args:
        train_images: Of the training set.
    """

    def __init__(self, train_images: int) -> None:
        self._train_images = train_images
        self._silent_until: dict[str, float] = {}  # by key, on the monotonic clock
        self._looked = time.monotonic()
        self._heard: dict[str, int] = {}  # by key, the place of the last report that its worker was answered for
        self._alone = ""

    def __len__(self) -> int:
        return len(self._silent_until)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._silent_until))

    def __contains__(self, key: str) -> bool:
        return key in self._silent_until

    @property
    def alone(self) -> str:
        """The job that was given all slots; "" where each has one."""
        return self._alone if self._alone in self else ""

    def leave_to(self, key: str) -> None:
        """The job of that key is given all slots when it is started, if nothing trains then; none is if it is ""."""
        self._alone = key

    def start(self, job: JobRecord) -> bool:
        """A worker is given the job: how long until it reports, arithmetic says.

        Returns:
            Whether it may have all slots.
        """
        if self._alone == job.key and len(self):
            self._alone = ""
        expected = arithmetic.image_s(job.arch, job.train) * self._train_images * _following(job, job.epoch)
        self._silent_until[job.key] = time.monotonic() + max(_FIRST_REPORT_S, _SLOWEST * expected)
        self._heard[job.key] = -1
        return self._alone == job.key

    def hear(self, job: JobRecord, report: Report) -> bool:
        """A worker reported: how long until its next report, its pace says.

        Returns:
            False if the report has arrived before: a second answer would let the worker past its next one, unrecorded.
        """
        if report.place <= self._heard[job.key]:
            return False
        self._heard[job.key] = report.place
        expected = report.train_s / report.epoch * _following(job, report.epoch)
        self._silent_until[job.key] = time.monotonic() + max(_FIRST_REPORT_S / 3, _SLOWEST * expected)
        return True

    def end(self, key: str) -> None:
        """The job has no worker any more."""
        self._silent_until.pop(key, None)

    def hung(self) -> list[str]:
        """The jobs that have been silent for too long; asked all the time. A halt, as by Ctrl-Z, counts for none."""
        now = time.monotonic()
        halted = now - self._looked if now - self._looked > _HALT_S else 0.0
        self._looked = now
        self._silent_until = {key: until + halted for key, until in self._silent_until.items()}
        return [key for key, until in self._silent_until.items() if now > until]


def _following(job: JobRecord, epoch: float) -> float:
    """Epochs from ``epoch`` to the job's next report."""
    return next((point for point in job.report_at if point > epoch), epoch) - epoch
