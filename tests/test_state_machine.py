"""Whatever happens to a study, it ends with exactly its trials, each figure once, in all three places.

The driver, the ledger (an SQLite file), the mirrors and both views are the real ones. Training, the clock, MLflow's
server and Optuna's database are stand-ins, and all of them can fail or end at any point between two writes.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fmnist_sweep import jobs, running
from fmnist_sweep import ledger as ledgers
from fmnist_sweep.driver import Driver
from fmnist_sweep.ending import Stopping
from fmnist_sweep.errors import FatalError
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import mlflow_runs, mlflow_seen, optuna_seen, optuna_storage
from fmnist_sweep.views.mlflow_runs import MlflowView
from fmnist_sweep.views.optuna_storage import OptunaView
from tests import stand_ins
from tests.machine_parts import (
    Bomb,
    Clock,
    FakeWorkers,
    Killed,
    MortalLedger,
    MortalStorage,
    Process,
    SteppedMirror,
    Strand,
)
from tests.machine_study import NAME, NETS, NOWHERE, TRIALS, TWIN, InOrder, check_end, identity, small_task
from tests.mlflow_stand_in import Outage, StandInClient
from tests.stand_ins import reports_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")]

WRITES = {"asked", "started", "report", "held", "paused", "ended", "kept", "dropped"}
POINTS = [
    *(f"{when} {kind}" for when in ("before", "after") for kind in ("asked", "started", "report", "held", "died")),
    *(f"{when} {kind}" for when in ("before", "after") for kind in ("paused", "ended", "kept", "dropped")),
    *(f"{when} {kind}" for when in ("before", "after") for kind in ("run", "view", "advance", "Optuna writes")),
    *("before MLflow is asked", "after MLflow was asked"),
]
_LONG_S = 2_000.0  # no worker may be silent for as long
_MOST_ROUNDS = 200
_CLOSING = 12


class StudyMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bomb, self.clock, self.task = Bomb(), Clock(), small_task()
        self.tracker, self.storage = StandInClient(self.bomb.tick), MortalStorage(self.bomb)
        self.data = stand_ins.prepared(self.folder / "data")
        self.study = StudyFolder(self.folder / "study")
        self.study.path.mkdir()
        self.process: Process | None = None
        self.target = self.last_target = 0
        self.urgency = Stopping.NO
        self.outcome, self.delivered = "", False
        self.seen: list[Event] = []
        self.hurt: set[str] = set()  # jobs that may have failed
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(running, "time", self.clock)
        self.patches.setattr(jobs, "_WORTH_A_START_S", 0.0)
        self.patches.setattr(running, "_HALT_S", math.inf)  # the clock leaps, and nobody was halted
        self.patches.setattr(ledgers, "time", self.clock)
        for module in (mlflow_runs, mlflow_seen):
            self.patches.setattr(module, "connect", lambda _: self.tracker)
        self.patches.setattr(mlflow_seen, "check_uri", lambda _: None)
        for views in (optuna_storage, optuna_seen):
            self.patches.setattr(views, "storage_at", lambda _: self.storage)

    # --- what happens

    @initialize()
    def begin(self) -> None:
        self.start(TRIALS)

    @precondition(lambda self: self.process is None)
    @rule(trials=st.integers(1, TRIALS))
    def start(self, trials: int) -> None:
        """The command is given, which it would refuse while MLflow is away."""
        self.tracker.outage = ""
        self.urgency = Stopping.NO
        self.target, self.last_target = max(self.target, trials), trials
        ledger = MortalLedger(self.study.ledger, self.bomb)
        try:
            ledger.append("study", **identity(self.task))
            ledger.append("session", "", len(ledger.events()), began=self.clock.time())
        except Killed:
            ledger.close()
            return
        workers = FakeWorkers(ledger)
        mirrors = [
            SteppedMirror(ledger, lambda: MlflowView(NOWHERE, ledger, self.folder / "artifacts", {})),
            SteppedMirror(ledger, lambda: OptunaView(NOWHERE, NAME)),
        ]
        driver = Driver(
            ledger=ledger,
            task=self.task,
            data=self.data,
            folder=self.study,
            proposer=InOrder(),
            executor=workers,
            stopping=lambda: Stopping.NOW if any(mirror.fatal for mirror in mirrors) else self.urgency,
        )

        def drive() -> None:
            self.outcome = driver.run(trials, [TWIN])

        self.process = Process(ledger, workers, driver, Strand(drive), mirrors)

    @precondition(lambda self: self._busy())
    @rule(pick=st.integers(0, 7), heard=st.booleans())
    def work(self, pick: int, heard: bool) -> None:
        """A worker trains to its next report, or to its end."""
        workers = self._there.workers
        workers.work(workers.able()[pick % len(workers.able())])
        if heard:
            self.listen()

    @precondition(lambda self: self._busy())
    @rule(rounds=st.integers(2, 8))
    def go_on(self, rounds: int) -> None:
        """Nothing bad happens for a while."""
        for _ in range(rounds):
            for key in self.process.workers.able() if self.process else ():
                self._there.workers.work(key)
            if self.process:
                self.listen()

    @precondition(lambda self: self.process)
    @rule()
    def listen(self) -> None:
        """The driver takes in what its workers have said, and does what there is to do."""
        self._guarded(self._listen)

    @precondition(lambda self: self.process and self.process.workers.at_work)
    @rule(pick=st.integers(0, 7), saved=st.booleans())
    def kill_worker(self, pick: int, saved: bool) -> None:
        """A worker is killed, before or after it has written its next checkpoint; it was not heard of."""
        key = self._at_work(pick)
        if saved and key not in self._there.workers.waiting:
            self._there.workers.save(key)
        self._there.workers.kill(key)
        self.hurt.add(key)  # too many deaths are its end

    @precondition(lambda self: self._busy())
    @rule(pick=st.integers(0, 7), why=st.sampled_from(["diverged", "memory", "error"]))
    def fail(self, pick: int, why: Any) -> None:
        """A training fails for good."""
        workers = self._there.workers
        key = workers.able()[pick % len(workers.able())]
        workers.fail(key, why)
        self.hurt.add(key)

    @precondition(lambda self: self.process and self.process.workers.at_work)
    @rule()
    def all_hang(self) -> None:
        """No worker gives a sign of life for a long time."""
        self.hurt |= self._there.workers.at_work.keys()
        self.clock.sleep_through(_LONG_S)
        self.listen()

    @precondition(lambda self: self.process)
    @rule()
    def deliver_twice(self) -> None:
        """The last word of each job arrives once more."""
        self._there.workers.repeat()

    @precondition(lambda self: self.process)
    @rule()
    def ctrl_c(self) -> None:
        """Once for an end at the next report, twice for an end at once."""
        self.urgency = Stopping(min(self.urgency + 1, Stopping.NOW))

    @precondition(lambda self: self.process)
    @rule()
    def kill_driver(self) -> None:
        self._die()

    @precondition(lambda self: self.process and not self.bomb.armed)
    @rule(ticks=st.integers(1, 25))
    def kill_driver_soon(self, ticks: int) -> None:
        """The process will be killed between two writes, wherever it is then."""
        self.bomb.arm(ticks)

    @precondition(lambda self: self.process and not self.bomb.armed)
    @rule(ticks=st.integers(1, 3), point=st.sampled_from(POINTS))
    def kill_driver_at(self, ticks: int, point: str) -> None:
        """The process will be killed just before or just after a certain write."""
        self.bomb.arm(ticks, point)

    @precondition(lambda self: self.process)
    @rule(which=st.integers(0, 1))
    def show(self, which: int) -> None:
        """A mirror goes on until it has nothing to show, or is put off."""
        self._guarded(lambda: self._step(self._there.mirrors[which]))

    @precondition(lambda self: self.process)
    @rule(
        outage=st.sampled_from(["", "", "refused", "500"]),
        replies_to_lose=st.integers(0, 2),
        locked=st.booleans(),
    )
    def change_weather(self, outage: Outage, replies_to_lose: int, locked: bool) -> None:
        """MLflow is away or back, will do what it is asked and lose its answers; Optuna's database is locked or not."""
        self.tracker.outage, self.tracker.replies_to_lose = outage, replies_to_lose
        self.storage.locked = locked

    @rule(seconds=st.sampled_from([-7_200.0, 3_600.0]))
    def set_clock(self, seconds: float) -> None:
        self.clock.set_by(seconds)

    # --- what is always true

    @invariant()
    def nothing_recorded_changes(self) -> None:
        """The ledger only grows, numbers are stable, each report is there once, in order, and is the right one."""
        state = StudyState.of(self._look())
        assert [job.number for job in state.trials()] == list(range(len(state.trials())))
        assert len(state.trials()) <= self.target
        for job in state.jobs.values():
            expected = reports_of(job.arch, job.train, state.jobs.get(job.same_as, job).report_at)
            assert list(job.reports) == expected[: len(job.reports)]
            proposal = TWIN if job.kind == "lab" else NETS[job.number]
            assert (job.arch, job.train) == (proposal.arch, proposal.train)

    @invariant()
    def the_driver_knows_what_the_ledger_says(self) -> None:
        if self.process:
            state = self.process.driver.state
            assert state == StudyState.of(event for event in self.seen if event.seq <= state.seq)
            assert {event.kind for event in self.seen if event.seq > state.seq} <= {"run", "view"}  # a view's notes

    @invariant()
    def no_job_has_two_runs(self) -> None:
        jobs = self.tracker.jobs()
        assert len(jobs) == len(set(jobs))

    # --- how it ends

    def teardown(self) -> None:
        """All troubles end, the command is given until it is done, and everything must agree."""
        try:
            if sys.exc_info()[0] is None:
                self.bomb.defuse()
                self._finish()
                check_end(self.seen, self.study, self.hurt)
        finally:
            self._die()
            self.patches.undo()
            shutil.rmtree(self.folder)

    def _finish(self, at_a_time: int = 2) -> None:
        """To the study's end; with one worker at a time the last trial has long to go when nothing else is left."""
        self.tracker.outage, self.tracker.replies_to_lose, self.storage.locked = "", 0, False
        for _ in range(_MOST_ROUNDS):
            if self.process is None:
                if self._done():
                    return
                self.start(TRIALS)
            for key in self._there.workers.able()[:at_a_time]:
                self._there.workers.work(key)
            self.listen()
        raise AssertionError("it does not end")

    def _done(self) -> bool:
        """Whether the last run came to its end, with all shown."""
        return self.outcome == "done" and self.last_target == TRIALS and self.delivered

    # --- parts

    @property
    def _there(self) -> Process:
        assert self.process is not None
        return self.process

    def _busy(self) -> bool:
        return self.process is not None and bool(self.process.workers.able())

    def _at_work(self, pick: int) -> str:
        keys = list(self._there.workers.at_work)
        return keys[pick % len(keys)]

    def _guarded(self, do: Callable[[], None]) -> None:
        """Does what may end the process."""
        try:
            do()
        except Killed:
            self._die()
        except FatalError:
            self.outcome = "failed"
            self._close()

    def _listen(self) -> None:
        self._there.strand.go_on()
        if self._there.strand.over:
            self._close()

    def _close(self) -> None:
        """What a session does once the driver is through: it waits for the views, and gives up if they are away."""
        there = self._there
        there.workers.close()
        try:
            for _ in range(_CLOSING):
                for mirror in there.mirrors:
                    self._step(mirror)
            self.delivered = all(mirror.shown >= there.ledger.last() for mirror in there.mirrors)
            for mirror in there.mirrors:
                mirror.end()
        except Killed:
            self.outcome = "killed"
        self._die()

    @staticmethod
    def _step(mirror: SteppedMirror) -> None:
        if not mirror.strand.over:
            mirror.strand.go_on()

    def _die(self) -> None:
        """The process is gone; what it wrote is there."""
        self.bomb.defuse()
        if self.process is not None:
            for strand in (self.process.strand, *(mirror.strand for mirror in self.process.mirrors)):
                strand.kill()
            self._look()
            self.process.ledger.close()
            self.process = None

    def _look(self) -> list[Event]:
        """The ledger, which must have all that it ever had."""
        if self.process is not None:
            events = self.process.ledger.events()
            assert events[: len(self.seen)] == self.seen
            self.seen = events
        return self.seen


StudyMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestStudyMachine = StudyMachine.TestCase


def lived(ticks: int) -> list[str]:
    """A study with no trouble but that its process is killed at one point, 0 for none; the points that it passed."""
    machine = StudyMachine()
    try:
        machine.begin()
        machine.bomb.arm(ticks)
        machine._finish(at_a_time=1)
        passed = list(machine.bomb.passed)
        check_end(machine.seen, machine.study, machine.hurt)
        return passed
    finally:
        machine.patches.undo()
        machine._die()
        shutil.rmtree(machine.folder)


def test_a_process_killed_before_or_after_any_write_of_the_driver_loses_nothing() -> None:
    whole = lived(0)
    points = [place for place, point in enumerate(whole, 1) if point.split()[1] in WRITES]
    assert {whole[place - 1].split()[1] for place in points} == WRITES
    failed = []
    for place in points:
        try:
            lived(place)
        except AssertionError as error:
            failed.append(f"{whole[place - 1]} ({place}): {error}")
    assert failed == []
