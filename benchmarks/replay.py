"""Other rung schedules on known learning curves: the product's real driver, ledger and pruning, in simulated time.

A worker is an entry in a list here: it "trains" by waiting, in simulated seconds, as long as the recorded training
took, and reports what was recorded. So a schedule is judged by what the product would have done with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.curves import Curve
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.data import FASHION_MNIST, PreparedData
from fmnist_sweep.driver import Driver
from fmnist_sweep.executors import Finished, Happening, Reported
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Past, Proposal, Task
from fmnist_sweep.proposers.base import Excess
from fmnist_sweep.schema import FidelitySection, FullTraining, Pruner, StudySection, SweepConfig
from fmnist_sweep.trial import Report, TrialJob, TrialResult

_IN_MEMORY = Path(":memory:")
_NOWHERE = Path("replay")
_FINALISTS = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """How early trials are stopped, how many are trained in full in the end, and when."""

    pruner: Pruner
    rungs: tuple[float, ...]
    reduction: int = 3
    finalists: int = _FINALISTS
    full_training: FullTraining = "at_once"
    price: float = 0.0

    @property
    def name(self) -> str:
        """In a few words."""
        if self.pruner == "none":
            return "all in full"
        rungs = ", ".join(f"{rung:g}" for rung in self.rungs)
        reduction = "" if self.pruner == "median" else f" 1/{self.reduction}"
        finalists = "" if self.finalists == _FINALISTS else f", {self.finalists} finalists"
        at_end = ", in full at the end" if self.full_training == "at_end" else ""
        price = f", price {self.price:g}" if self.price else ""
        return f"{self.pruner} [{rungs}]{reduction}{finalists}{at_end}{price}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a schedule came to.

    Attributes:
        epochs: Trained in all.
        seconds: Of training, over all workers.
        span_s: From the first start to the last end, training alone.
        starts: Workers that were started.
        regret: What the best of all would have come to by full training, less that of the first finalist.
        found: Whether that is the very best configuration.
    """

    epochs: float
    seconds: float
    span_s: float
    starts: int
    regret: float
    found: bool


def replay(curves: Sequence[Curve], schedule: Schedule, workers: int = 2) -> Replayed:
    """A study that proposes the configurations of ``curves`` in their order, each once."""
    numbered = [replace(curve, train=curve.train.with_seed(place)) for place, curve in enumerate(curves)]
    executor = _Simulated({curve.arch: curve for curve in curves}, workers)
    ledger = Ledger(_IN_MEMORY)
    try:
        driver = Driver(
            ledger=ledger,
            task=_task(curves[0], schedule),
            data=_data(curves[0]),
            folder=StudyFolder(_NOWHERE),
            proposer=_InOrder([Proposal(curve.arch, curve.train, {}) for curve in numbered]),
            executor=executor,
        )
        driver.run(len(curves))
        state = driver.state
    finally:
        ledger.close()
    best = max(curve.end for curve in curves)
    champion = executor.curves[state.finalists()[0].arch].end
    jobs = [job for job in state.trials() if job.reports]
    return Replayed(
        epochs=sum(job.epoch for job in jobs),
        seconds=sum(job.reports[-1].train_s for job in jobs),
        span_s=executor.now,
        starts=sum(job.attempts for job in jobs),
        regret=best - champion,
        found=champion == best,
    )


def many(curves: Sequence[Curve], schedule: Schedule, *, times: int, trials: int, seed: int) -> list[Replayed]:
    """Many studies of ``trials`` configurations, drawn with replacement, the same draws for every schedule."""
    found = []
    for turn in range(times):
        chosen = np.random.default_rng([seed, turn]).integers(0, len(curves), trials)
        found.append(replay([curves[place] for place in chosen], schedule))
    return found


def _task(curve: Curve, schedule: Schedule) -> Task:
    fidelity = FidelitySection(
        pruner=schedule.pruner,
        rungs=list(schedule.rungs),
        reduction=schedule.reduction,
        full_training=schedule.full_training,
        price=schedule.price,
    )
    config = SweepConfig(
        title="a replay", study=StudySection(keep_models=schedule.finalists), fidelity=fidelity, space={}
    )
    return Task(config, curve.arch.input_shape, curve.arch.classes, 0)


def _data(curve: Curve) -> PreparedData:
    return PreparedData(_NOWHERE, _NOWHERE, curve.arch.input_shape, FASHION_MNIST.class_names, "replay")


class _InOrder:
    """A proposer that has its proposals already."""

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self._proposals = proposals

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | None:  # noqa: ARG002
        return self._proposals[len(past)] if len(past) < len(self._proposals) else None


class _Simulated:
    """An executor whose workers replay curves; ``now`` is the simulated time in seconds."""

    def __init__(self, curves: Mapping[ArchSpec, Curve], workers: int) -> None:
        self.curves = curves
        self.slots = workers
        self.spreads = False
        self.now = 0.0
        self._due: dict[str, float] = {}
        self._jobs: dict[str, TrialJob] = {}
        self._said: dict[str, int] = {}  # reports that each job has passed: its checkpoint

    def submit(self, job: TrialJob, alone: bool = False) -> None:  # noqa: ARG002
        self._jobs[job.key] = job
        self._train(job.key)

    def happenings(self, timeout_s: float) -> list[Happening]:  # noqa: ARG002
        key = min(self._due, key=lambda waiting: self._due[waiting], default="")
        if not key:
            return []
        self.now = max(self.now, self._due.pop(key))
        reports = self._reports(key)
        if self._said.get(key, 0) == len(reports):
            return [Finished(key, TrialResult.so_far(reports))]
        self._said[key] = self._said.get(key, 0) + 1
        return [Reported(key, reports[self._said[key] - 1])]

    def proceed(self, key: str) -> None:
        self._train(key)

    def cancel(self, key: str) -> None:
        self._due.pop(key, None)

    def close(self) -> None:
        self._due.clear()

    def _train(self, key: str) -> None:
        reports, said = self._reports(key), self._said.get(key, 0)
        before = reports[said - 1].train_s if said else 0.0
        self._due[key] = self.now + (reports[said].train_s - before if said < len(reports) else 0.0)

    def _reports(self, key: str) -> list[Report]:
        """The curve at the job's own report points."""
        job = self._jobs[key]
        by_epoch = {report.epoch: report for report in self.curves[job.arch].reports}
        return [replace(by_epoch[epoch], place=place) for place, epoch in enumerate(job.report_at)]
