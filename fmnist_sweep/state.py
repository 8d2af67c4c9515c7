"""What a study stands at: a fold over the ledger's events. No event is known but what is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.ledger import Event
from fmnist_sweep.scores import TestScore, unpacked_classes
from fmnist_sweep.trial import Kind, Report, TrialResult

JobState = Literal["waiting", "running", "held", "complete", "pruned", "failed"]
ENDED: tuple[JobState, ...] = ("complete", "pruned", "failed")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as the ledger knows it.

    Attributes:
        key: As in ``trial-0007``, ``lab-cnn3``.
        kind: ``trial``, ``lab`` or ``final``.
        number: Of a trial; -1 for others.
        arch: The net.
        train: The recipe.
        fingerprint: Of both.
        drawn: The values drawn by the proposer, by its names.
        report_at: See ``TrialJob``.
        same_as: The job whose result this one shares, because its fingerprint is the same.
        state: Where it stands.
        paused: Whether its worker was ended so that a later run goes on with it.
        attempts: Workers that were started for it.
        reports: In order.
        result: Of a job that ended well.
        reason: Why it ended as it did, for people.
        started: Seconds since 1970; 0.0 before the first start.
        ended: Seconds since 1970; 0.0 before the end.
        kept: Whether its weights are on disk.
        run_id: MLflow's run, once there is one.
        model_uri: MLflow's logged model, once there is one.
        tested: How it does on the test set, once the finals have opened that.
    """

    key: str
    kind: Kind
    number: int
    arch: ArchSpec
    train: TrainSpec
    fingerprint: str
    drawn: dict[str, Any]
    report_at: tuple[float, ...]
    same_as: str = ""
    state: JobState = "waiting"
    paused: bool = False
    attempts: int = 0
    reports: tuple[Report, ...] = ()
    result: TrialResult | None = None
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    kept: bool = False
    run_id: str = ""
    model_uri: str = ""
    tested: TestScore | None = None

    @property
    def best(self) -> float | None:
        """Best validation accuracy so far, 0 to 1; None before the first report."""
        if self.result is not None:
            return self.result.best_val_accuracy
        return max((report.val_accuracy for report in self.reports), default=None)

    @property
    def kept_accuracy(self) -> float | None:
        """Validation accuracy of the weights that are kept, 0 to 1: the best epoch's, of the finals the last one's."""
        return self.reports[-1].val_accuracy if self.kind == "final" and self.reports else self.best

    @property
    def standing(self) -> float | None:
        """What it is compared by now, 0 to 1, see ``Report.standing``."""
        return self.reports[-1].standing if self.reports else self.best

    @property
    def epoch(self) -> float:
        """Epochs trained so far."""
        return self.reports[-1].epoch if self.reports else 0.0


@dataclass(slots=True)
class StudyState:
    """All of a study; ``apply`` is the only thing that changes it.

    Attributes:
        study: Body of the event that began it: name, id, sweep, config, seed, data, versions; the config with what
            may change between runs as the last one had it, see ``study.free``.
        jobs: By key, in the order they were asked for.
        seq: Of the last event applied.
        wall_s: Seconds that drivers have spent on it.
        pauses: When nobody was at work on it: from when to when, in seconds since 1970.
        views: Facts that views recorded, by name, as MLflow's experiment.
        openings: How often the test set was opened.
        test_set: The true classes, packed; None before the test set was opened.
        duplicates: ``Duplicates`` as a dictionary: which test images the training file holds too; None if not known.
        mistakes: What the leader of the finals gets wrong, as ``finals.test`` records it; None before the finals.
        compared: The last comparison, as ``finals.record`` records it; None before the first.
        target: Trials that the last run was asked for.
        storage: Address of Optuna's storage in the last run, without a password; "" for the one under home, None where
            the release of that run did not record it.
        flat: The patience that the search had and the trials there were, each time that it went flat.
        left: Jobs that are no trials and that the last run leaves as they are, as nobody has asked it for them.
    """

    study: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    seq: int = 0
    wall_s: float = 0.0
    pauses: list[tuple[float, float]] = field(default_factory=list)
    views: dict[str, Any] = field(default_factory=dict)
    openings: int = 0
    test_set: dict[str, Any] | None = None
    duplicates: dict[str, Any] | None = None
    mistakes: dict[str, Any] | None = None
    compared: dict[str, Any] | None = None
    target: int = 0
    storage: str | None = None
    flat: set[tuple[int, int]] = field(default_factory=set)
    left: frozenset[str] = frozenset()
    _last_time: float = 0.0

    @classmethod
    def of(cls, events: Iterable[Event]) -> StudyState:
        """The state after ``events``."""
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """Takes in the next event."""
        self.seq = event.seq
        if event.kind != "session" and self._last_time:
            self.wall_s += max(0.0, event.time - self._last_time)
        elif self._last_time and event.time > self._last_time:
            self.pauses.append((self._last_time, event.time))
        self._last_time = event.time
        if event.kind == "study":
            self.study = event.body
        elif event.kind == "session":
            self.target = event.body.get("target", self.target)
            if "free" in event.body and "config" in self.study:  # in ledgers of older releases it is not
                config = with_changes(self.study["config"], event.body["free"])
                self.study = {**self.study, "config": config}
            self.storage = event.body.get("storage", self.storage)
        elif event.kind == "view":
            self.views.update(event.body)
        elif event.kind == "flat":
            self.flat.add((event.body["patience"], event.place))
        elif event.kind == "left":
            self.left = frozenset(event.body["keys"])
        elif event.kind == "opened":
            self.openings += 1
        elif event.kind in _FACTS:
            setattr(self, event.kind, event.body)
        elif event.kind == "asked":
            self.jobs[event.job] = _asked(event)
        elif event.kind in _CHANGES:
            self.jobs[event.job] = _CHANGES[event.kind](self.jobs[event.job], event)

    def of_kind(self, kind: Kind) -> Iterator[JobRecord]:
        """The jobs of one kind, in order."""
        return (job for job in self.jobs.values() if job.kind == kind)

    def trials(self, *states: JobState) -> list[JobRecord]:
        """The trials, all or those in the given states."""
        return [job for job in self.of_kind("trial") if not states or job.state in states]

    def others(self) -> list[JobRecord]:
        """The jobs beside the trials, without those that the last run leaves as they are."""
        return [job for job in self.jobs.values() if job.kind != "trial" and job.key not in self.left]

    def ranked(self) -> list[JobRecord]:
        """Complete trials, best validation accuracy first, the earlier one first where equal."""
        return sorted(self.trials("complete"), key=lambda job: (-(job.best or 0.0), job.number))

    def finalists(self) -> list[JobRecord]:
        """Complete trials, first the one whose net is likely to do best when it is trained again.

        The best accuracy of all epochs is that of one lucky step as well; it fits a model that is kept, and says less
        of its net than the accuracy over the last steps.
        """
        return sorted(self.trials("complete"), key=lambda job: (-(job.standing or 0.0), job.number))

    def test_labels(self) -> NDArray[np.uint8] | None:
        """The true classes of the test images, shape (images,); None before the finals have opened the test set."""
        return unpacked_classes(self.test_set["labels"]) if self.test_set else None

    def unfinished(self) -> list[JobRecord]:
        """Jobs that were asked for and have not ended, in order."""
        return [job for job in self.jobs.values() if job.state not in ENDED]


def with_changes(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A sweep as the ledger has it, with other values of some dotted keys."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for dotted, value in changes.items():
        section, _, key = dotted.rpartition(".")
        (found.setdefault(section, {}) if section else found)[key] = value
    return found


def _asked(event: Event) -> JobRecord:
    body = event.body
    return JobRecord(
        key=event.job,
        kind=body["kind"],
        number=body["number"],
        arch=ArchSpec.from_dict(body["arch"]),
        train=TrainSpec.from_dict(body["train"]),
        fingerprint=body["fingerprint"],
        drawn=body["drawn"],
        report_at=tuple(body["report_at"]),
        same_as=body.get("same_as", ""),
    )


def _started(job: JobRecord, event: Event) -> JobRecord:
    return replace(job, state="running", paused=False, attempts=event.place, started=job.started or event.time)


def _reported(job: JobRecord, event: Event) -> JobRecord:
    return replace(job, reports=(*job.reports, Report.of(event.place, event.body)))


def _ended(job: JobRecord, event: Event) -> JobRecord:
    result = event.body.get("result")
    return replace(
        job,
        state=event.body["state"],
        reason=event.body.get("reason", ""),
        result=TrialResult(**result) if result else None,
        started=job.started or event.time,
        ended=event.time,
    )


_FACTS = ("test_set", "duplicates", "mistakes", "compared")
_CHANGES: dict[str, Callable[[JobRecord, Event], JobRecord]] = {
    "started": _started,
    "report": _reported,
    "ended": _ended,
    "held": lambda job, event: replace(job, state="held"),  # noqa: ARG005
    "paused": lambda job, event: replace(job, paused=True),  # noqa: ARG005
    "kept": lambda job, event: replace(job, kept=True),  # noqa: ARG005
    "dropped": lambda job, event: replace(job, kept=False),  # noqa: ARG005
    "run": lambda job, event: replace(job, run_id=event.body["run_id"]),
    "model": lambda job, event: replace(job, model_uri=event.body["model_uri"]),
    "tested": lambda job, event: replace(job, tested=TestScore(**event.body)),
}
