"""What the search tried and how far that came: history, curves, sizes, settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import get_args

from fmnist_sweep import arithmetic
from fmnist_sweep.arch import BatchNorm
from fmnist_sweep.report.parts import name_of, score_of, seconds_of
from fmnist_sweep.state import JobRecord, StudyState

Line = tuple[tuple[float, float], ...]
CURVES = 8


def _placed(batch_norm: str) -> str:
    return batch_norm.removesuffix("_activation").replace("_", " ")


BATCH_NORMS = tuple(_placed(where) for where in get_args(BatchNorm))

_PAUSE_S = 60.0  # shorter ones don't show


@dataclass(frozen=True, slots=True)
class Attempt:
    """A net that was trained in the search, or beside it.

    Attributes:
        name: As the finals have it.
        number: Of a trial; -1 for the lab's.
        net: In short form.
        full: Whether it was trained in full.
        score: Best validation accuracy, 0 to 1.
        epoch: Epochs trained.
        minutes: After the first trial began, when the score was known; of a trial that was stopped, about.
        parameters: Of the net.
        depth: Blocks.
        filters: Of a block, the mean; 0 where there is none.
        batch_norm: One of ``BATCH_NORMS``.
        dropout: Of a block, the mean.
        dense: Units of the hidden dense layers together.
    """

    name: str
    number: int
    net: str
    full: bool
    score: float
    epoch: float
    minutes: float
    parameters: int
    depth: int
    filters: float
    batch_norm: str
    dropout: float
    dense: int


@dataclass(frozen=True, slots=True)
class Curve:
    """How a net learned; accuracies are fractions.

    Attributes:
        name: As the finals have it.
        lab: Whether it is one of the lab's.
        epochs: At which it reported.
        train_accuracy: Mean over the epoch so far, dropout and augmentation at work.
        val_accuracy: On the validation images.
        train_loss: As ``train_accuracy``.
        val_loss: Mean cross-entropy.
    """

    name: str
    lab: bool
    epochs: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """The search as a whole.

    Attributes:
        attempts: Trials with a score, by number.
        lab: The lab's nets with a score, a net that two names stand for once.
        by_trial: Best score of the trials trained in full so far, by the trial's number.
        by_minute: The same by minutes.
        front: Nets trained in full than which no other is both smaller and better, smallest first.
        best: Names of the trials to point out, best first.
        shown: Curves to point out: those trials' and the lab's.
        others: Curves of all other trials.
        paused: Whether the minutes hold pauses between runs.
        validation: Images that a score rests on; 0 where the ledger doesn't say.
    """

    attempts: tuple[Attempt, ...]
    lab: tuple[Attempt, ...]
    by_trial: Line
    by_minute: Line
    front: tuple[Attempt, ...]
    best: tuple[str, ...]
    shown: tuple[Curve, ...]
    others: tuple[Curve, ...]
    paused: bool
    validation: int

    @property
    def best_of_lab(self) -> Attempt | None:
        """The best of the lab's nets that are trained in full."""
        return max((it for it in self.lab if it.full), key=lambda it: it.score, default=None)


def search(state: StudyState, finalists: Sequence[str]) -> Search:
    """Gathers the search.

    Args:
        state: Of the study.
        finalists: Names of the trials to point out; where there are none, the best three.
    """
    begun = min((job.started for job in state.trials() if job.started), default=0.0)
    attempts = tuple(_attempt(job, begun) for job in state.trials() if score_of(job) is not None)
    twins = {job.key for job in state.of_kind("lab") if job.same_as}
    labs = [job for job in state.of_kind("lab") if score_of(job) is not None and job.key not in twins]
    lab = tuple(_attempt(job, begun) for job in labs)
    full = [attempt for attempt in attempts if attempt.full]
    best = tuple(finalists) or tuple(name_of(job) for job in state.ranked()[:3])
    pointed = best[: max(CURVES - len(labs), 1)]
    curves = {name_of(job): _curve(job) for job in state.trials() if score_of(job) is not None}
    ended = begun + max((attempt.minutes for attempt in attempts), default=0.0) * 60
    paused_s = sum(max(min(until, ended) - max(since, begun), 0.0) for since, until in state.pauses)
    return Search(
        attempts=attempts,
        lab=lab,
        by_trial=rising((attempt.number, attempt.score) for attempt in full),
        by_minute=rising(sorted((attempt.minutes, attempt.score) for attempt in full)),
        front=front([*full, *(it for it in lab if it.full)]),
        best=best,
        shown=tuple([curves[name] for name in pointed if name in curves] + [_curve(job) for job in labs]),
        others=tuple(curve for name, curve in curves.items() if name not in pointed),
        paused=paused_s > _PAUSE_S,
        validation=state.study.get("data_set", {}).get("validation", 0),
    )


def _attempt(job: JobRecord, begun: float) -> Attempt:
    blocks = job.arch.blocks
    full = job.state == "complete"
    known = job.ended if full else job.started + seconds_of(job)
    return Attempt(
        name=name_of(job),
        number=job.number,
        net=job.arch.short,
        full=full,
        score=score_of(job) or 0.0,
        epoch=job.epoch,
        minutes=max(known - begun, 0.0) / 60,
        parameters=arithmetic.cost(job.arch).parameters,
        depth=len(blocks),
        filters=fmean(block.filters for block in blocks) if blocks else 0.0,
        batch_norm=_placed(job.arch.batch_norm),
        dropout=fmean(block.dropout for block in blocks) if blocks else 0.0,
        dense=sum(job.arch.dense),
    )


def _curve(job: JobRecord) -> Curve:
    said = job.reports
    return Curve(
        name=name_of(job),
        lab=job.kind == "lab",
        epochs=tuple(report.epoch for report in said),
        train_accuracy=tuple(report.train_accuracy for report in said),
        val_accuracy=tuple(report.val_accuracy for report in said),
        train_loss=tuple(report.train_loss for report in said),
        val_loss=tuple(report.val_loss for report in said),
    )


def rising(points: Iterable[tuple[float, float]]) -> Line:
    """The points that are higher than all before them."""
    found: list[tuple[float, float]] = []
    for x, y in points:
        if not found or y > found[-1][1]:
            found.append((float(x), y))
    return tuple(found)


def front(nets: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The nets than which no other is both smaller (or as small) and better (or as good), smallest first."""
    found: list[Attempt] = []
    for net in sorted(nets, key=lambda it: (it.parameters, -it.score)):
        if not found or net.score > found[-1].score:
            found.append(net)
    return tuple(found)


def floor(scores: Sequence[float]) -> float:
    """Where an axis of scores begins so that the good ones can be told apart: it holds all ``scores`` but those
    that are far below the others."""
    if not scores:
        return 0.0
    top, middle = max(scores), median(scores)
    low = max(min(scores), top - 4 * (top - middle))
    return max(low - max(0.1 * (top - low), 0.002), 0.0)


def scale(nets: Sequence[Attempt]) -> tuple[float, ...]:
    """The scores that an axis is made for: those of nets trained in full, or of all where there are none."""
    return tuple(it.score for it in nets if it.full) or tuple(it.score for it in nets)
