"""What a worker gets, sends and returns: picklable frozen values, and the one function that it runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.data import PreparedData
from fmnist_sweep.errors import SpecError
from fmnist_sweep.home import CHECKPOINT, WEIGHTS

Kind = Literal["trial", "lab", "final"]
Keep = Literal["best", "last"]


@dataclass(frozen=True, slots=True)
class TrialJob:
    """One net to train: everything that a worker needs, wherever it runs.

    Attributes:
        key: Names the job within its study, as in ``trial-0007`` or ``lab-cnn3``; a file name.
        arch: The net.
        train: The recipe.
        report_at: Epochs at which the worker reports, ascending: fractions of the first epoch
            (the low rungs), then every whole epoch up to ``train.epochs``.
        data: The training and validation images.
        folder: Where the job's checkpoint and weights are.
        keep: Whose weights are kept: those of the epoch with the ``best`` validation accuracy, or of the ``last``.
        steady_at: Report points at which the last steps are scored too, see ``Report.steady_accuracy``: where trials
            are compared.
        steady_alone_at: Those of them at which nothing else is scored: no weights are kept from there.
    """

    key: str
    arch: ArchSpec
    train: TrainSpec
    report_at: tuple[float, ...]
    data: PreparedData
    folder: Path
    keep: Keep = "best"
    steady_at: tuple[float, ...] = ()
    steady_alone_at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        whole = [point for point in self.report_at if point >= 1]
        below = [point for point in self.report_at if point < 1]
        if whole != list(range(1, self.train.epochs + 1)) or sorted(set(below)) != below or min(below, default=1) <= 0:
            raise SpecError(
                f"report points {self.report_at!r}; valid: ascending fractions of the first epoch, "
                f"then each whole epoch up to {self.train.epochs}"
            )

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished training is."""
        return self.folder / CHECKPOINT

    @property
    def weights(self) -> Path:
        """Where the kept weights are once the job has ended."""
        return self.folder / WEIGHTS


@dataclass(frozen=True, slots=True)
class Extra:
    """A net to train that no proposer drew: one of the lab's, or a finalist under another seed.

    Attributes:
        key: Names the job.
        kind: ``lab`` or ``final``.
        arch: The net.
        train: The recipe.
    """

    key: str
    kind: Kind
    arch: ArchSpec
    train: TrainSpec


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says at one report point.

    Attributes:
        place: Index into ``TrialJob.report_at``.
        epoch: Epochs trained so far.
        train_loss: Mean over this epoch's images so far.
        train_accuracy: Share of this epoch's images so far, 0 to 1.
        val_loss: Mean cross-entropy over the validation images; over the last steps where they alone are scored.
        val_accuracy: Share of the validation images, 0 to 1; the same.
        train_s: Seconds of training so far, scoring left out.
        images: Images trained on so far.
        steady_accuracy: As ``val_accuracy``, over the last steps and not after the very last one; None where not asked
            for.
        score_s: Seconds of scoring for this report; None in ledgers of older releases.
    """

    place: int
    epoch: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    train_s: float
    images: int
    steady_accuracy: float | None = None
    score_s: float | None = None

    @property
    def standing(self) -> float:
        """What trials are compared by: with a constant learning rate accuracy goes up and down from step to step."""
        return self.val_accuracy if self.steady_accuracy is None else self.steady_accuracy

    @classmethod
    def of(cls, place: int, body: Mapping[str, Any]) -> Report:
        """The inverse of ``body``; without what only older releases scored, the mean of weights."""
        return cls(place=place, **{name: value for name, value in body.items() if name != "smooth_accuracy"})

    @property
    def body(self) -> dict[str, Any]:
        """Everything but ``place``, as the ledger has it."""
        return {name: value for name, value in asdict(self).items() if name != "place"}

    @property
    def finite(self) -> bool:
        """Whether training is still sound."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a job ended.

    Attributes:
        epoch: Epochs trained.
        best_epoch: Epochs after which the validation accuracy was highest.
        best_val_accuracy: That accuracy, 0 to 1.
        train_s: Seconds of training, scoring left out.
        images: Images trained on.
        weights_sha256: Of the weights file; "" where there is none.
        peak_bytes: Largest resident memory of the worker; 0 where that is not known.
    """

    epoch: float
    best_epoch: float
    best_val_accuracy: float
    train_s: float
    images: int
    weights_sha256: str = ""
    peak_bytes: int = 0

    @property
    def images_per_s(self) -> float:
        """Training images by second of training."""
        return self.images / self.train_s if self.train_s > 0 else 0.0

    @classmethod
    def so_far(cls, reports: Sequence[Report]) -> TrialResult:
        """The result of a job that is stopped at its last report."""
        best = max(reports, key=lambda report: report.val_accuracy)
        last = reports[-1]
        return cls(last.epoch, best.epoch, best.val_accuracy, last.train_s, last.images)


ReportTo = Callable[[Report], None]
RunTrial = Callable[[TrialJob, ReportTo], TrialResult]


def run_trial(job: TrialJob, report: ReportTo) -> TrialResult:
    """Trains ``job`` from its checkpoint, or from the start where there is none.

    The checkpoint is on disk before the driver hears of the report that it belongs to, so a report
    is never ahead of what a later attempt can take up again.

    Args:
        job: What to train.
        report: Gets each report, and returns when the driver says to go on.

    Raises:
        Diverged: The loss became infinite or NaN.
    """
    from fmnist_sweep import train  # TensorFlow loads here, in the worker, and nowhere else

    training = train.Training(job.arch, job.train, job.data.load())
    saved = durable.read_sealed(job.checkpoint)
    if saved is not None:
        training.restore(saved)  # unless it is another net's
    outcome = train.fit(
        training,
        job.report_at,
        report=report,
        save=lambda state: durable.write_sealed(job.checkpoint, state),
        keep=job.keep,
        steady_at=job.steady_at,
        steady_alone_at=job.steady_alone_at,
    )
    durable.write(job.weights, outcome.weights)
    return TrialResult(
        epoch=job.report_at[-1],
        best_epoch=outcome.progress.best_epoch,
        best_val_accuracy=outcome.progress.best_val_accuracy,
        train_s=outcome.progress.train_s,
        images=training.images_seen,
        weights_sha256=hashlib.sha256(outcome.weights).hexdigest(),
        peak_bytes=outcome.peak_bytes,
    )
