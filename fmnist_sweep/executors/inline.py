"""One job at a time in a thread of the driver's own process: for tests and debugging."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from fmnist_sweep.executors.base import Died, Failed, Finished, Happening, Started
from fmnist_sweep.executors.worker import work
from fmnist_sweep.trial import RunTrial, TrialJob, run_trial


class _Cancelled(BaseException):
    """Unwinds a job whose driver wants no more of it."""


class InlineExecutor:
    """See ``Executor``. A cancelled job ends at its next report."""

    slots = 1
    spreads = False

    def __init__(self, run: RunTrial = run_trial) -> None:
        self._run = run
        self._happenings: queue.Queue[Happening] = queue.Queue()  # a fresh pair for each job: what a
        self._answers: queue.Queue[bool] = queue.Queue()  # cancelled one still says is heard by nobody
        self._thread: threading.Thread | None = None
        self._key = ""

    def submit(self, job: TrialJob, alone: bool = False) -> None:  # noqa: ARG002
        """See ``Executor``."""
        if self._thread is not None:
            raise ValueError(f"{job.key}: the one slot is taken by {self._key}")
        self._key = job.key
        self._happenings, self._answers = queue.Queue(), queue.Queue()
        self._thread = threading.Thread(
            target=self._work, args=(job, self._happenings.put, self._answers), daemon=True, name=job.key
        )
        self._thread.start()

    def happenings(self, timeout_s: float) -> list[Happening]:
        """See ``Executor``."""
        found: list[Happening] = []
        try:
            found.append(self._happenings.get(timeout=timeout_s))
            while True:
                found.append(self._happenings.get_nowait())
        except queue.Empty:
            pass
        if any(isinstance(happening, (Finished, Failed, Died)) for happening in found):
            self._join()
        return found

    def proceed(self, key: str) -> None:
        """See ``Executor``."""
        if key == self._key:
            self._answers.put(True)

    def cancel(self, key: str) -> None:
        """See ``Executor``."""
        if key == self._key:
            self._answers.put(False)
            self._join()

    def close(self) -> None:
        """See ``Executor``."""
        self.cancel(self._key)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread, self._key = None, ""

    def _work(self, job: TrialJob, say: Callable[[Happening], None], answers: queue.Queue[bool]) -> None:
        def hear() -> None:
            if not answers.get():
                raise _Cancelled

        say(Started(job.key, "this process"))
        try:
            work(job, self._run, say, hear)
        except _Cancelled:
            pass
        except BaseException as error:  # what would have killed a process of its own
            say(Died(job.key, f"the worker ended with {type(error).__name__}"))
