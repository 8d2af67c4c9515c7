"""The nets that a report is about, as rows of a table, and what is left of their scores in the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fmnist_sweep import arithmetic, stats
from fmnist_sweep.finals import is_trial
from fmnist_sweep.report.parts import finals_of, name_of, score_of, seconds_of
from fmnist_sweep.standings import Findings, Standing, correct_of
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.trial import Kind

BEST = 5
_SEARCHED: tuple[Kind, Kind] = ("lab", "trial")


@dataclass(frozen=True, slots=True)
class NetRow:
    """A net in the table. Accuracies are fractions.

    Attributes:
        name: As the finals have it.
        net: In short form.
        lab: Whether it is one of the lab's.
        accuracy: Mean test accuracy; without finals the best validation accuracy, None where there is none.
        low: Lower end of its 95 % interval over seeds and images; None without finals.
        high: Upper end.
        parameters: Of the net.
        flops: Of one image.
        latency_ms: Of one image; None without finals.
        batch_latency_ms: Of 64 images at once.
        train_s: Seconds of training with one worker, the mean over seeds.
        note: What else is to be said, as that it is the same net as another.
    """

    name: str
    net: str
    lab: bool
    accuracy: float | None
    low: float | None
    high: float | None
    parameters: int
    flops: int
    latency_ms: float | None
    batch_latency_ms: float | None
    train_s: float
    note: str


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """A net's score in the search beside what became of it under other seeds. All are fractions.

    Attributes:
        name: Of the net.
        lab: Whether it is one of the lab's.
        searched: Validation accuracy in the search: one seed, the best epoch.
        retrained: The same figure, the mean over the finals' seeds.
        last: Validation accuracy after the last epoch, the mean over the finals' seeds.
    """

    name: str
    lab: bool
    searched: float
    retrained: float
    last: float


def final_rows(state: StudyState, findings: Findings) -> tuple[NetRow, ...]:
    """Finalists and the lab's nets, in the order of the findings."""
    return tuple(_final_row(state, standing, findings.seeds) for standing in findings.standings)


def _final_row(state: StudyState, standing: Standing, seeds: Sequence[int]) -> NetRow:
    name, arch = standing.contender.name, standing.contender.arch
    interval = stats.accuracy_interval(correct_of(state, name, seeds))
    return NetRow(
        name=name,
        net=arch.short,
        lab=not is_trial(name),
        accuracy=standing.mean,
        low=interval.low,
        high=interval.high,
        parameters=standing.parameters,
        flops=standing.flops,
        latency_ms=standing.latency_ms,
        batch_latency_ms=standing.batch_latency_ms,
        train_s=standing.train_s,
        note="",
    )


def search_rows(state: StudyState) -> tuple[NetRow, ...]:
    """The best trials, those trained in full before others, then the lab's nets, each best first."""
    lab, trials = ([job for job in state.of_kind(kind) if score_of(job) is not None] for kind in _SEARCHED)
    best = sorted(trials, key=lambda job: (job.state != "complete", -(score_of(job) or 0.0), job.number))
    return tuple(_search_row(job) for job in [*best[:BEST], *sorted(lab, key=lambda job: -(score_of(job) or 0.0))])


def _search_row(job: JobRecord) -> NetRow:
    cost = arithmetic.cost(job.arch)
    return NetRow(
        name=name_of(job),
        net=job.arch.short,
        lab=job.kind == "lab",
        accuracy=score_of(job),
        low=None,
        high=None,
        parameters=cost.parameters,
        flops=cost.flops,
        latency_ms=None,
        batch_latency_ms=None,
        train_s=seconds_of(job),
        note=_note(job),
    )


def _note(job: JobRecord) -> str:
    if job.same_as:
        return f"the same net as {job.same_as}"
    return "" if job.state == "complete" else f"{job.epoch:g} of {job.train.epochs} epochs"


def shrinkages(state: StudyState, findings: Findings) -> tuple[Shrinkage, ...]:
    """Of every net that has a score in the search."""
    found = []
    for standing in findings.standings:
        contender = standing.contender
        best = [job.best for job in finals_of(state, contender.name, findings.seeds) if job.best is not None]
        if contender.searched is not None and best:
            found.append(
                Shrinkage(
                    contender.name, not is_trial(contender.name), contender.searched, fmean(best), standing.val_accuracy
                )
            )
    return tuple(found)
