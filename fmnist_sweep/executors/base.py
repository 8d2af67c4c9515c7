"""The contract of an executor and the happenings that it tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from fmnist_sweep.trial import Report, TrialJob, TrialResult


@dataclass(frozen=True, slots=True)
class Started:
    """A worker took up the job; ``worker`` names it for people and logs, as in ``pid 4711``."""

    key: str
    worker: str


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker passed a report point and waits for ``Executor.proceed``."""

    key: str
    report: Report


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker trained the job to its end."""

    key: str
    result: TrialResult


@dataclass(frozen=True, slots=True)
class Failed:
    """The job came to an end that it would come to again.

    Attributes:
        why: ``diverged``; ``memory``, also where the kernel ended the worker for it; ``disk``, where the job's files
            can't be written, or ``data``, where the images can't be read, neither of which is the job's fault; or
            ``error``.
        message: One line.
    """

    key: str
    why: Literal["diverged", "memory", "disk", "data", "error"]
    message: str


@dataclass(frozen=True, slots=True)
class Died:
    """The worker ended without a word; the job can be taken up again from its checkpoint.

    Attributes:
        message: One line.
        lost: Whether it went down with all of its node or slot, which says nothing of the job.
    """

    key: str
    message: str
    lost: bool = False


Happening = Started | Reported | Finished | Failed | Died


class Executor(Protocol):
    """Runs jobs in workers. One thread, the driver's, calls it.

    Every job that was submitted ends in exactly one of ``Finished``, ``Failed``, ``Died``, unless it is
    cancelled. A worker that reported trains no further until it is told to proceed. Nothing that a worker does
    outlives ``close``, nor the death of the process that holds the executor.
    """

    @property
    def slots(self) -> int:
        """Jobs that run at the same time."""
        ...

    @property
    def spreads(self) -> bool:
        """Whether a job that is alone trains faster for it, see ``submit``."""
        ...

    def submit(self, job: TrialJob, alone: bool = False) -> None:
        """Starts a worker for ``job``; there must be a free slot, and no other job of that key.

        Args:
            job: What to train.
            alone: Whether it may use what all slots have, as they are free. Jobs that come later are started beside it.
        """
        ...

    def happenings(self, timeout_s: float) -> list[Happening]:
        """What happened since the last call, waiting up to ``timeout_s`` seconds for something to."""
        ...

    def proceed(self, key: str) -> None:
        """Lets the worker that reported for ``key`` train on; no error if it has died meanwhile."""
        ...

    def cancel(self, key: str) -> None:
        """Ends the worker of ``key`` at once; nothing more is heard of it."""
        ...

    def close(self) -> None:
        """Ends all workers."""
        ...
