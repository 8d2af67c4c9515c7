"""What a study cost and where its results come from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_sweep import summary
from fmnist_sweep.report.parts import seconds_of
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import JobRecord, StudyState


@dataclass(frozen=True, slots=True)
class Spent:
    """What one kind of training took.

    Attributes:
        what: For people.
        nets: Trained.
        epochs: All together.
        train_s: Seconds of training, as of one worker after the other.
    """

    what: str
    nets: int
    epochs: float
    train_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a study cost.

    Attributes:
        complete: Trials trained in full.
        pruned: Trials stopped early.
        failed: Trials that failed.
        unfinished: Trials that have not ended.
        failures: Why trials failed, each reason once.
        spent: By kind of training, all together last.
        wall_s: Seconds by the clock, pauses between runs left out.
        saved_epochs: That the pruned trials were not trained for.
        saved_s: The same in seconds of one worker, at each trial's own pace.
        peak_bytes: Largest memory of a worker; 0 where that is not known.
    """

    complete: int
    pruned: int
    failed: int
    unfinished: int
    failures: tuple[str, ...]
    spent: tuple[Spent, ...]
    wall_s: float
    saved_epochs: float
    saved_s: float
    peak_bytes: int

    @property
    def trials(self) -> int:
        """All of them."""
        return self.complete + self.pruned + self.failed + self.unfinished


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of where a study comes from."""

    name: str
    value: str


def cost(state: StudyState) -> Cost:
    """What the study cost."""
    ended = summary.counts(state)
    epochs, seconds = summary.epochs_saved(state)
    own = [job for job in state.jobs.values() if not job.same_as]
    kinds = {"the search": "trial", "the lab's nets beside it": "lab", "the finals": "final"}
    by_kind = [_spent(what, [job for job in own if job.kind == kind]) for what, kind in kinds.items()]
    return Cost(
        complete=ended["complete"],
        pruned=ended["pruned"],
        failed=ended["failed"],
        unfinished=len(state.trials()) - sum(ended.values()),
        failures=tuple(dict.fromkeys(job.reason for job in state.trials("failed") if job.reason)),
        spent=(*(spent for spent in by_kind if spent.nets), _spent("all together", own)),
        wall_s=state.wall_s,
        saved_epochs=epochs,
        saved_s=seconds,
        peak_bytes=max((job.result.peak_bytes for job in own if job.result), default=0),
    )


def _spent(what: str, jobs: Sequence[JobRecord]) -> Spent:
    trained = [job for job in jobs if job.epoch]
    return Spent(what, len(trained), sum(job.epoch for job in trained), sum(seconds_of(job) for job in trained))


def origin(state: StudyState, findings: Findings | None) -> tuple[Fact, ...]:
    """Seeds, versions, machine, data sums, commit and openings; what an old ledger does not hold is left out."""
    study = state.study
    data = study.get("data_set", {})
    search = study.get("config", {}).get("study", {})
    fidelity = study.get("config", {}).get("fidelity", {})
    seeds = "" if findings is None else ", ".join(map(str, findings.seeds))
    found = {
        "study": study.get("name"),
        "study id": study.get("id"),
        "begun": _date(study.get("created")),
        "sweep": study.get("sweep"),
        "searched by": " ".join(str(search[key]) for key in ("engine", "sampler") if key in search),
        "stopped early by": _fidelity(fidelity) if fidelity else None,
        "seed of the search": study.get("seed"),
        "seeds of the finals": seeds,
        "test set opened": "never" if not state.openings else f"{state.openings} x",
        "training images": _number(data.get("training")),
        "validation images": _number(data.get("validation")),
        "machine": study.get("machine"),
        "git commit": study.get("git_commit"),
        "versions": ", ".join(f"{name} {number}" for name, number in study.get("versions", {}).items()),
    }
    found |= {f"MD5 of {name}": sum_ for name, sum_ in data.get("files", {}).items()}
    return tuple(Fact(name, str(value)) for name, value in found.items() if value not in (None, ""))


def _fidelity(section: dict[str, Any]) -> str:
    at_end = ", the best trained in full at the end" if section.get("full_training") == "at_end" else ""
    return f"{section['pruner']}, at epochs {section['rungs']}{at_end}"


def _date(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else ""


def _number(value: Any) -> str:
    return f"{value:,}" if value else ""
