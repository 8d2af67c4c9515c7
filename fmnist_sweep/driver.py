"""The loop: ask, submit, hear reports, prune, tell, until the target; and everything that can go wrong on the way.

The driver writes the ledger, and each thing is in the ledger before it is acted on. What it needs to know it
reads from the state, which is a fold over the ledger, so a driver that starts over an old ledger goes on
where the last one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from fmnist_sweep import jobs, pruning, space
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.data import PreparedData
from fmnist_sweep.deadline import Deadline
from fmnist_sweep.ending import Failures, Outcome, Stopping
from fmnist_sweep.errors import DataError, HomeError, LedgerError, SweepError
from fmnist_sweep.executors import Died, Executor, Failed, Finished, Happening, Reported
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.pasts import Pasts, judging
from fmnist_sweep.proposers import Proposer, Task, Wait
from fmnist_sweep.running import Running
from fmnist_sweep.state import ENDED, JobRecord, JobState, StudyState
from fmnist_sweep.trial import Extra, Kind, TrialResult
from fmnist_sweep.twins import Twins

_TICK_S = 0.25


class Driver:
    """Drives one study; see the module.

    Args:
        ledger: The study's; nobody else appends jobs to it.
        task: What is searched.
        data: The images.
        folder: The study's files.
        proposer: Asked with the past each time.
        executor: Where jobs run; closed by whoever made it.
        watch: Called after each event with the state, and about four times a second with None.
        stopping: Says how urgently to end; asked all the time.
        idle: Called with the state, time and again, while there is a free slot and nothing to train.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        task: Task,
        data: PreparedData,
        folder: StudyFolder,
        proposer: Proposer,
        executor: Executor,
        watch: Callable[[StudyState, Event | None], None] = lambda _state, _event: None,
        stopping: Callable[[], Stopping] = lambda: Stopping.NO,
        idle: Callable[[StudyState], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._task = task
        self._data = data
        self._folder = folder
        self._proposer = proposer
        self._executor = executor
        self._watch = watch
        self._stopping = stopping
        self._idle = idle
        self.state = StudyState.of(ledger.events())
        self._rungs = pruning.Rungs(self.state.trials(), task.config.fidelity.price)
        self._queue: list[str] = []
        self._twins = Twins(self.state)
        self._running = Running(data.train_images)
        self._failures = Failures()
        self._exhausted = False
        self._patience, self._search = 0, True
        self._extras: set[str] = set()
        self._waits_for: set[str] | None = None  # what ran when the proposer had nothing: none of it has ended yet
        self._more = True  # whether there was something to train when there was a free slot for it last
        self._deadline = Deadline(None, 0.0, task.config)
        self._pasts = Pasts(task.config.fidelity.price)
        self._worth = judging(proposer, self._pasts, self.state.trials)

    def run(
        self,
        target: int,
        extras: Sequence[Extra] = (),
        timeout_s: float | None = None,
        patience: int = 0,
        *,
        search: bool = True,
    ) -> Outcome:
        """Goes on until ``target`` trials and all ``extras`` have ended.

        Args:
            target: Trials in all, those of earlier runs counted.
            extras: Nets to train beside them, none of them ever stopped early.
            timeout_s: Seconds that the study may take in all, earlier runs counted; see ``Deadline``.
            patience: See ``pruning.flat``; trials of earlier runs count; 0 for never.
            search: Whether trials go on; else they are left as they stand, and ``extras`` alone are trained.

        Raises:
            FatalError: It can't go on; the message says why.
        """
        self._patience, self._search = patience, search
        try:
            return self._run(target, extras, timeout_s)
        except SweepError:
            with suppress(LedgerError):  # which may be on the same disk; the next run takes the jobs up all the same
                self._record_paused(self._running)
            raise

    def _run(self, target: int, extras: Sequence[Extra], timeout_s: float | None) -> Outcome:
        self._take_up(extras)
        deadline = self._deadline = Deadline(timeout_s, self.state.wall_s, self._task.config)
        while True:
            stopping = self._stopping()
            if stopping is Stopping.NOW:
                self._pause(list(self._running))
            elif stopping is Stopping.NO and not deadline.over:
                self._fill(target)
            if not self._running:
                break
            for happening in self._executor.happenings(_TICK_S):
                self._take(happening)
            self._end_hung()
            self._watch(self.state, None)
        self._record_paused(key for key in self._queue if self.state.jobs[key].state == "running")
        if self._stopping() is not Stopping.NO:
            return "interrupted"
        if not self._search:
            left = [extra.key for extra in extras if self.state.jobs[extra.key].state not in ENDED]
            return "timeout" if left else "done"
        short = len(self.state.trials()) < target
        if (deadline.closing and short) or (deadline.over and (short or self._unfinished())):
            return "timeout"
        for job in self.state.trials("held"):
            self._end_pruned(job, "set aside")
        if not short:
            return "done"
        return "exhausted" if self._exhausted else "flat" if self._flat() else "done"

    def _record(self, kind: str, job: str = "", place: int = 0, /, **body: Any) -> bool:
        """Appends to the ledger and takes in all that is new there; False if it was recorded before."""
        new = self._ledger.append(kind, job, place, **body) is not None
        for event in self._ledger.events(after=self.state.seq):
            self.state.apply(event)
            changed = self.state.jobs.get(event.job)
            if changed is not None and changed.kind == "trial":
                self._rungs.take(changed)
            self._watch(self.state, event)
        return new

    # --- the past, and what is new to this run

    def _take_up(self, extras: Sequence[Extra]) -> None:
        """Puts unfinished jobs and new extras in the queue."""
        self._folder.clear_scratch()
        for job in list(self.state.jobs.values()):
            if job.state == "complete" and not job.kept and not job.same_as:
                self._record("kept", job.key)  # a driver may have been killed just before; what was dropped stays so
        self._drop()
        self._extras = self._twins.needed(extras, search=self._search)
        self._tell_what_is_left()
        # A driver that was killed could not say so of its jobs, and to others they would seem to train.
        self._record_paused([job.key for job in self.state.unfinished() if job.state == "running" and not job.paused])
        for job in self._unfinished():
            if job.state == "running" and not self._goes_on(job):
                self._hold(job)
            elif job.state != "held" and not job.same_as:
                self._queue.append(job.key)
        for extra in extras:
            if extra.key not in self.state.jobs:
                whole = pruning.report_points(extra.train.epochs, ())
                self._ask(extra.key, extra.kind, -1, extra.arch, extra.train, {}, whole)

    def _tell_what_is_left(self) -> None:
        """Records which nets beside the trials this run does not train, if that is news."""
        left = {job.key for job in self.state.unfinished() if job.kind != "trial" and job.key not in self._extras}
        if left != self.state.left:
            self._record("left", "", self.state.seq, keys=sorted(left))

    def _unfinished(self) -> list[JobRecord]:
        """Jobs that this run has still to train."""
        searched = "trial" if self._search else ""
        return [job for job in self.state.unfinished() if job.kind == searched or job.key in self._extras]

    def _fill(self, target: int) -> None:
        """Starts jobs while there are free slots and work to do."""
        while len(self._running) < self._executor.slots:
            self._settle_shared()
            key = self._next(target)
            self._more = key is not None
            if key is None:
                self._settle_shared()  # the last that was proposed may be a net that is known
                self._idle(self.state)
                return
            self._submit(self.state.jobs[key])

    def _next(self, target: int) -> str | None:
        """What to train next: what waits, a held trial that belongs to the best, a new one, a finalist."""
        config = self._task.config
        while True:
            if self._queue:
                return self._queue.pop(0)
            if not self._search:
                return None
            held = pruning.promoted(self._rungs, config.fidelity, self._worth)
            if held is not None:
                return held.key
            proposed = self._propose(target)
            if proposed is None:
                return None
            if not proposed:
                break
            self._settle_shared()  # a net that is known is no trial under way
        final = pruning.last_chance(self.state.trials(), config.fidelity, config.study.keep_models)
        return None if final is None else final.key

    def _propose(self, target: int) -> bool | None:
        """Asks for one more trial; False where there is none to be had, None where running ones say if there is."""
        trials = self.state.trials()
        if len(trials) >= target or self._exhausted or self._waits_for == set(self._running):
            return False
        flat = self._flat()
        if flat or self._deadline.close(self.state, self._executor.slots, self._extras):
            return False
        if flat is None:
            return None
        limits = self._task.config.limits
        proposal = self._proposer.ask([self._pasts.of(job) for job in trials], lambda it: space.excess(it.arch, limits))
        if isinstance(proposal, Wait) and self._running:
            self._waits_for = set(self._running)
            return False
        if proposal is None or isinstance(proposal, Wait):
            self._exhausted = True
            return False
        points = pruning.report_points(proposal.train.epochs, self._task.config.fidelity.rungs)
        number = len(trials)
        self._ask(f"trial-{number:04d}", "trial", number, proposal.arch, proposal.train, proposal.drawn, points)
        return True

    def _flat(self) -> bool | None:
        """Whether the search has ended as flat: said once, so that a finalist's late lead does not open it again.

        None where that is not sure yet, see ``pruning.flat``.
        """
        trials, patience = self.state.trials(), self._patience
        if not patience:
            return False
        if (patience, len(trials)) in self.state.flat:
            return True
        found = pruning.flat(trials, patience)
        if found:
            self._record("flat", f"patience-{patience}", len(trials), patience=patience)
        return found

    def _ask(
        self,
        key: str,
        kind: Kind,
        number: int,
        arch: ArchSpec,
        train: TrainSpec,
        drawn: dict[str, Any],
        report_at: tuple[float, ...],
    ) -> None:
        """Records a new job; one that is known under another name shares that one's result."""
        print_ = fingerprint(arch, train)
        twin = self._twins.of(print_, kind, report_at)
        self._record(
            "asked",
            key,
            kind=kind,
            number=number,
            arch=arch.to_dict(),
            train=train.to_dict(),
            drawn=drawn,
            fingerprint=print_,
            report_at=report_at,
            same_as=twin,
        )
        self._twins.know(self.state.jobs[key])
        if not twin:
            self._queue.append(key)
        elif kind == "trial" and self.state.jobs[twin].kind != "trial" and twin not in self._extras:
            self._extras.add(twin)  # one of the lab's nets, which an earlier run may have left
            self._tell_what_is_left()
            if self.state.jobs[twin].state not in ENDED:
                self._queue.append(twin)

    def _settle_shared(self) -> None:
        """Gives jobs that share another's result that result, once it is there."""
        for job, twin in self._twins.settled():
            for report in twin.reports:
                self._record("report", job.key, report.place, **report.body)
            same = f"the same net as {twin.key}"
            self._end(job.key, twin.state, f"{twin.reason} ({same})" if twin.state == "failed" else same, twin.result)

    # --- one job

    def _submit(self, job: JobRecord) -> None:
        self._record("started", job.key, job.attempts + 1)
        alone = self._running.start(job)
        trial = jobs.job_of(job, self._task.config.fidelity.rungs, self._data, self._folder)
        self._executor.submit(trial, alone=alone)

    def _take(self, happening: Happening) -> None:
        key = happening.key
        if key not in self._running:
            return
        if isinstance(happening, Reported):
            self._take_report(key, happening)
        elif isinstance(happening, Finished):
            self._failures.none()
            self._end(key, "complete", "", happening.result)
            self._keep(key)
        elif isinstance(happening, Failed):
            self._take_failure(key, happening)
        elif isinstance(happening, Died):
            self._take_death(key, happening.message, happening.lost)

    def _take_report(self, key: str, happening: Reported) -> None:
        report = happening.report
        if not self._running.hear(self.state.jobs[key], report):
            return
        new = self._record("report", key, report.place, **report.body)
        job = self.state.jobs[key]
        if new and not self._goes_on(job):
            self._hold(job)
        elif (self._deadline.over or self._stopping() is not Stopping.NO) and report.epoch < job.report_at[-1]:
            self._pause([key])
        elif new and report.epoch < job.report_at[-1] and self._is_to_move(job):
            self._running.leave_to("" if self._running.alone == key else key)
            self._pause([key])
            self._queue.insert(0, key)
        else:
            self._executor.proceed(key)

    def _is_to_move(self, job: JobRecord) -> bool:
        """Whether a job is to go on in another worker: with all slots, as nothing else is left, or with one again."""
        beside = len(self._running) > 1
        if self._running.alone == job.key:
            return beside
        return not (beside or self._more) and self._executor.spreads and jobs.may_spread(job)

    def _goes_on(self, job: JobRecord) -> bool:
        return pruning.goes_on(job, self._rungs, self._task.config.fidelity, self._worth)

    def _hold(self, job: JobRecord) -> None:
        """Ends the worker of a trial that is not among the best now."""
        self._failures.none()
        self._executor.cancel(job.key)
        if self._task.config.fidelity.pruner == "median":  # the median rule takes nothing back
            self._end_pruned(job, "pruned")
            return
        self._running.end(job.key)
        self._record("held", job.key, job.attempts)
        for key in jobs.crowded_out(self.state, job.key):
            self._folder.checkpoint(key).unlink(missing_ok=True)

    def _take_failure(self, key: str, happening: Failed) -> None:
        if happening.why == "disk":
            where = f"{self._folder.path} can't be written ({happening.message})"
            raise HomeError(f"{where}; once it can, the same command goes on")
        if happening.why == "data":
            raise DataError(happening.message)
        self._end(key, "failed", f"{happening.why}: {happening.message}", None)
        if happening.why == "error":
            self._failures.error(key, happening.message, self._folder.log)

    def _take_death(self, key: str, message: str, lost: bool = False) -> None:
        """The same job again, from its checkpoint; not for ever."""
        deaths = self._failures.death(key, lost=lost)
        self._running.end(key)
        if deaths:
            self._end(key, "failed", f"worker: {message}, {deaths} times", None)
            self._failures.error(key, message, self._folder.log)
        else:
            self._record("died", key, self.state.jobs[key].attempts, message=message)
            self._queue.insert(0, key)

    def _end_hung(self) -> None:
        for key in self._running.hung():
            self._executor.cancel(key)
            self._take_death(key, "the worker gave no sign of life")

    def _pause(self, keys: list[str]) -> None:
        """Ends workers whose jobs go on in a later run."""
        for key in keys:
            self._executor.cancel(key)
            self._running.end(key)
        self._record_paused(keys)

    def _record_paused(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._record("paused", key, self.state.jobs[key].attempts)

    def _end_pruned(self, job: JobRecord, how: str) -> None:
        reason = f"{how} at epoch {job.epoch:g} with validation accuracy {job.reports[-1].val_accuracy:.4f}"
        self._end(job.key, "pruned", reason, TrialResult.so_far(job.reports))

    def _end(self, key: str, state: JobState, reason: str, result: TrialResult | None) -> None:
        self._record("ended", key, state=state, reason=reason, result=asdict(result) if result else None)
        self._running.end(key)
        self._folder.checkpoint(key).unlink(missing_ok=True)

    def _keep(self, key: str) -> None:
        """Keeps the weights of the lab's nets and of the best trials, and no others."""
        self._record("kept", key)
        self._drop()

    def _drop(self) -> None:
        """Removes the weights of trials that are not among the best."""
        for job in jobs.no_longer_kept(self.state, self._task.config.study.keep_models):
            self._record("dropped", job.key)
            self._folder.weights(job.key).unlink(missing_ok=True)
