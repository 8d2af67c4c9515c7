"""Parts of the state machine: a clock that is moved, workers that train when told, views that go step by step.

Driver and views each run in a strand (a greenlet) of the one thread and hand over to the machine where the real
ones would wait. So the machine decides what happens when, and a failing history is the same each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import greenlet
from optuna.storages import InMemoryStorage

from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.driver import Driver
from fmnist_sweep.executors import Died, Failed, Finished, Happening, Reported
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.trial import Report, TrialJob
from fmnist_sweep.views import Mirror, View
from tests.stand_ins import reports_of, result_of

SLOTS = 2


class Killed(BaseException):
    """The process is gone, at this very point; nothing in the program may catch it."""


class Bomb:
    """Kills the process at some point between two things that last: commits, requests, writes."""

    def __init__(self) -> None:
        self._left = 0
        self._at = ""
        self.passed: list[str] = []

    @property
    def armed(self) -> bool:
        """Whether it will go off."""
        return bool(self._left)

    def arm(self, ticks: int, at: str = "") -> None:
        """Lets it go off at the so many-th point; with ``at`` at the so many-th point of that name."""
        self._left, self._at = ticks, at

    def defuse(self) -> None:
        """Lets it never go off."""
        self._left = 0

    def tick(self, point: str) -> None:
        """A point is passed."""
        self.passed.append(point)
        if self._left and self._at in ("", point):
            self._left -= 1
            if not self._left:
                raise Killed


class Clock:
    """In the place of the module ``time``: goes on a little with each look, and as far as it is moved."""

    def __init__(self) -> None:
        self._monotonic, self._ahead = 1_000.0, 1_700_000_000.0

    def monotonic(self) -> float:
        """Seconds since some moment; never set back."""
        self._monotonic += 0.001
        return self._monotonic

    def time(self) -> float:
        """Seconds since 1970, as far as the machine's owner keeps the clock right."""
        return self.monotonic() + self._ahead

    def sleep_through(self, seconds: float) -> None:
        """The laptop sleeps."""
        self._monotonic += seconds

    def set_by(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self._ahead += seconds


class MortalLedger(Ledger):
    """The real ledger, in a process that may be killed before and after each commit."""

    def __init__(self, path: Path, bomb: Bomb) -> None:
        super().__init__(path)
        self._bomb = bomb

    def append(self, kind: str, job: str = "", place: int = 0, /, **body: Any) -> Event | None:
        self._bomb.tick(f"before {kind}")
        event = super().append(kind, job, place, **body)
        self._bomb.tick(f"after {kind}")
        return event

    def advance(self, view: str, seq: int) -> None:
        self._bomb.tick("before advance")
        super().advance(view, seq)
        self._bomb.tick("after advance")


class MortalStorage(InMemoryStorage):
    """Optuna's storage in memory; whoever writes to it may be killed, or be told that it is locked."""

    def __init__(self, bomb: Bomb) -> None:
        super().__init__()
        self._bomb = bomb
        self.locked = False

    def create_new_trial(self, *args: Any, **options: Any) -> int:
        return int(self._write(super().create_new_trial, *args, **options))

    def set_trial_state_values(self, *args: Any, **options: Any) -> bool:
        return bool(self._write(super().set_trial_state_values, *args, **options))

    def set_trial_intermediate_value(self, *args: Any, **options: Any) -> None:
        self._write(super().set_trial_intermediate_value, *args, **options)

    def set_trial_user_attr(self, *args: Any, **options: Any) -> None:
        self._write(super().set_trial_user_attr, *args, **options)

    def _write(self, write: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._bomb.tick("before Optuna writes")
        if self.locked:
            raise RuntimeError("database is locked")
        found = write(*args, **options)
        self._bomb.tick("after Optuna writes")
        return found


class Strand:
    """Something that runs until it hands over, and goes on when it is told to."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._greenlet = greenlet.greenlet(run)

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return bool(self._greenlet.dead)

    def go_on(self) -> None:
        """Runs it to where it hands over next, or to its end; what it raises comes out here."""
        self._greenlet.switch()

    def kill(self) -> None:
        """Ends it where it is."""
        if self._greenlet and not self.over:
            try:
                self._greenlet.throw(Killed)
            except Killed:
                return

    @staticmethod
    def hand_over() -> None:
        """Called in a strand: back to whoever let it go on."""
        parent = greenlet.getcurrent().parent
        assert parent is not None
        parent.switch()


class _Turn(threading.Event):
    """Where the mirror would sleep, it hands over."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        if not self.is_set():
            Strand.hand_over()
        return self.is_set()


class SteppedMirror(Mirror):
    """The real mirror; its thread has nothing to do, as ``strand`` does it all."""

    def __init__(self, ledger: Ledger, make: Callable[[], View]) -> None:
        self.strand = Strand(lambda: Mirror._run(self))
        super().__init__(ledger, make)
        self._thread.join()
        self._closing = _Turn()

    def _run(self) -> None:
        """See the class."""

    @property
    def shown(self) -> int:
        """The last event that the view shows."""
        return self._shown

    def end(self) -> None:
        """As ``close``."""
        self._closing.set()
        if not self.strand.over:
            self.strand.go_on()


class FakeWorkers:
    """See ``Executor``: each worker trains one stretch, or ends, when the machine says so.

    Args:
        ledger: To see that what a worker waits for is durable before the driver lets it go on.
    """

    slots = SLOTS
    spreads = True

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: list[Happening] = []
        self._said: dict[str, Happening] = {}  # the last word of each worker
        self._passed: dict[str, int] = {}  # report points that each worker has passed
        self.at_work: dict[str, TrialJob] = {}
        self.waiting: dict[str, Report] = {}  # workers that wait for the driver's answer, with what they said

    # --- the driver's side

    def submit(self, job: TrialJob, alone: bool = False) -> None:
        assert job.key not in self.at_work
        assert len(self.at_work) < (1 if alone else self.slots)
        assert self._recorded("started", job.key), f"{job.key} is trained, and the ledger does not say so"
        saved = int(job.checkpoint.read_text()) if job.checkpoint.exists() else 0
        self._passed[job.key] = max(0, saved - 1)  # what was saved may never have been told
        self._said.pop(job.key, None)  # each worker has a line of its own: the last one's words can't come late
        self.at_work[job.key] = job

    def happenings(self, timeout_s: float) -> list[Happening]:  # noqa: ARG002
        Strand.hand_over()
        told, self._told = self._told, []
        return told

    def proceed(self, key: str) -> None:
        report = self.waiting.pop(key, None)
        if report is not None:
            told = self._recorded("report", key)
            assert report.place in told, f"{key} goes on after report {report.place}, which is not in the ledger"

    def cancel(self, key: str) -> None:
        self._end(key)
        self._told = [happening for happening in self._told if happening.key != key]

    def close(self) -> None:
        for key in list(self.at_work):
            self.cancel(key)

    # --- the machine's side

    def able(self) -> list[str]:
        """Workers that don't wait for an answer."""
        return [key for key in self.at_work if key not in self.waiting]

    def work(self, key: str) -> None:
        """Trains to the next report point, or to the end."""
        job, passed = self.at_work[key], self._passed[key]
        curve = reports_of(job.arch, job.train, job.report_at)
        if passed < len(curve):
            self.save(key)
            self._passed[key] += 1
            self.waiting[key] = curve[passed]
            self._say(Reported(key, curve[passed]))
        else:
            job.folder.mkdir(parents=True, exist_ok=True)
            job.weights.write_bytes(weights_of(job.arch, job.train))
            self._end(key)
            self._say(Finished(key, result_of(job)))

    def save(self, key: str) -> None:
        """Writes the checkpoint that belongs to the next report, and says nothing."""
        job, passed = self.at_work[key], self._passed[key]
        if passed < len(job.report_at):
            job.folder.mkdir(parents=True, exist_ok=True)
            job.checkpoint.write_text(str(passed + 1))

    def kill(self, key: str) -> None:
        """The worker is gone without a word."""
        self._end(key)
        self._say(Died(key, "the worker was ended by SIGKILL"))

    def fail(self, key: str, why: Literal["diverged", "memory", "error"]) -> None:
        """The worker gives up."""
        self._end(key)
        self._say(Failed(key, why, "for a reason"))

    def repeat(self) -> None:
        """Every worker's last word is told once more."""
        self._told += self._said.values()

    def _say(self, happening: Happening) -> None:
        self._said[happening.key] = happening
        self._told.append(happening)

    def _end(self, key: str) -> None:
        self.at_work.pop(key, None)
        self.waiting.pop(key, None)

    def _recorded(self, kind: str, key: str) -> set[int]:
        return {event.place for event in self._ledger.events() if (event.kind, event.job) == (kind, key)}


def weights_of(arch: ArchSpec, train: TrainSpec) -> bytes:
    """What the weights file of a job holds; ``stand_ins.result_of`` has its checksum."""
    return f"weights of {fingerprint(arch, train)}".encode()


@dataclass
class Process:
    """One driver process: what is gone once it is killed."""

    ledger: MortalLedger
    workers: FakeWorkers
    driver: Driver
    strand: Strand
    mirrors: list[SteppedMirror]
