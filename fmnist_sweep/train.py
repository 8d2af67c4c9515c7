"""Training one net: whole segments of an epoch inside TensorFlow's graph. Knows neither Optuna nor MLflow.

The arithmetic is that of Keras' ``fit`` (same batches, loss, optimizer and metrics); what is left out is
the Python between two steps. The images stay uint8 in one tensor; each batch is gathered from it by
index, inside the graph.
"""

from __future__ import annotations

import io
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fmnist_sweep import model as nets
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.augment import augmented
from fmnist_sweep.data import Split
from fmnist_sweep.errors import Diverged
from fmnist_sweep.fused import FusedAdam, FusedAdamW
from fmnist_sweep.trial import Keep, Report, ReportTo

_SCORE_BATCH = 100
_MOMENTS = 12
_MOMENT_STEPS = 25
_ALIGNED = 64  # bytes, the widest that TensorFlow's kernels load at once
_MAY_BE_MISSING = ("steady_accuracy", "score_s")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is; with the variables it is all that a checkpoint holds.

    Attributes:
        reports: Report points passed.
        steps: Optimizer steps done.
        train_s: Seconds of training.
        loss_sum: Of this epoch's images so far.
        correct: Of this epoch's images so far.
        seen: Images of this epoch so far.
        best_epoch: Where the validation accuracy was best.
        best_val_accuracy: That accuracy.
    """

    reports: int = 0
    steps: int = 0
    train_s: float = 0.0
    loss_sum: float = 0.0
    correct: float = 0.0
    seen: float = 0.0
    best_epoch: float = 0.0
    best_val_accuracy: float = -1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``fit`` ends with; ``weights`` are the kept ones, ``peak_bytes`` the process's largest memory."""

    progress: Progress
    weights: bytes
    peak_bytes: int


class Training:
    """A net under training: its variables, its data as tensors, its compiled functions.

    Args:
        arch: The net.
        spec: The recipe; its seed fixes everything that is drawn.
        split: uint8 images (n, height, width, channels) and labels (n,), for training and validation.
        fused: Whether on the layers and optimizers of ``fused``; else on Keras' own, for comparison.
    """

    def __init__(self, arch: ArchSpec, spec: TrainSpec, split: Split, *, fused: bool = True) -> None:
        keras.utils.set_random_seed(spec.seed)
        self.spec = spec
        self.net = nets.build(arch, spec.precision, fused=fused)
        self.images = _over(split.train_images)
        self.labels = tf.constant(split.train_labels)
        self.validation = (_over(split.validation_images), tf.constant(split.validation_labels))
        self.count = len(split.train_images)
        self.steps_per_epoch = -(-self.count // spec.batch_size)
        self.optimizer = _optimizer(spec, self.steps_per_epoch * spec.epochs, fused=fused)
        self.optimizer.build(self.net.model.trainable_variables)
        self.progress = Progress()
        self.kept_weights: list[np.ndarray] = []
        self.reports: list[Report] = []
        self._print = fingerprint(arch, spec)
        self._classes = arch.classes
        self._order: tuple[int, Any] = (-1, None)
        # Without AutoGraph, which would leave a file in the temporary folder for each function of each worker.
        self._steps = tf.function(self._run_steps, autograph=False)
        self._score = tf.function(self._run_score, autograph=False)

    def prepare(self) -> None:
        """Builds the graphs by no step at all, so that their time is the start's and not training's."""
        self._trained(self._order_of(self.progress.steps // self.steps_per_epoch), 0, 0, self.spec.batch_size)
        self._score(*self.validation, tf.constant(len(self.validation[1])), tf.constant(1))

    def advance(self, epoch: float, steady: bool = False) -> tuple[float, float] | None:
        """Trains on to ``epoch`` (epochs from the start), which must not lie beyond the current whole epoch.

        Args:
            epoch: Where to stop: at the nearest step, and after one at least.
            steady: Whether to score on the way. The steps themselves are the same.

        Returns:
            Cross-entropy and accuracy (0 to 1) in validation over the last steps, if asked for: of the weights at up
            to ``_MOMENTS`` moments, ``_MOMENT_STEPS`` steps apart, each on a share of the images of its own, so that it
            takes as long as one scoring.
        """
        begun = time.perf_counter()
        now = self.progress
        if max(round(epoch * self.steps_per_epoch), 1) <= now.steps:  # so few images that two points are one step
            return self.score()[:2] if steady else None
        current = now.steps // self.steps_per_epoch
        if now.steps % self.steps_per_epoch == 0:
            now = replace(now, loss_sum=0.0, correct=0.0, seen=0.0)
        target = min(max(round(epoch * self.steps_per_epoch), 1), (current + 1) * self.steps_per_epoch)
        first, last = now.steps - current * self.steps_per_epoch, target - current * self.steps_per_epoch
        order = self._order_of(current)
        full = min(last, self.count // self.spec.batch_size)
        totals = np.zeros(3)
        earliest = full - (_MOMENTS - 1) * _MOMENT_STEPS
        moments = [step for step in range(earliest, full, _MOMENT_STEPS) if step > first] if steady else []
        scores, scored_s = np.zeros(2), 0.0
        for place, stop in enumerate((*moments, full)):
            if stop > first:
                totals += self._trained(order, first, stop, self.spec.batch_size)
            if last > full and stop == full <= first:  # no step but the short batch that ends the epoch
                totals += self._trained(order, full, last, self.count - full * self.spec.batch_size)
                stop = full = last
            first = stop
            if steady:
                paused = time.perf_counter()
                steps = current * self.steps_per_epoch + stop
                scores += self._scored(nets.settled_weights(self.net.model, steps), place, len(moments) + 1)
                scored_s += time.perf_counter() - paused
        if last > full:  # the short batch that ends an epoch
            totals += self._trained(order, full, last, self.count - full * self.spec.batch_size)
        self.progress = replace(
            now,
            steps=target,
            loss_sum=now.loss_sum + float(totals[0]),
            correct=now.correct + float(totals[1]),
            seen=now.seen + float(totals[2]),
            train_s=now.train_s + time.perf_counter() - begun - scored_s,
        )
        if not steady:
            return None
        loss, accuracy = scores / len(self.validation[1])
        return float(loss), float(accuracy)

    def score(self) -> tuple[float, float, list[np.ndarray]]:
        """Mean cross-entropy, accuracy (0 to 1) on the validation images, and the weights that were scored."""
        settled = nets.settled_weights(self.net.model, self.progress.steps)
        loss, correct = self._scored(settled, 0, 1)
        count = len(self.validation[1])
        return loss / count, correct / count, settled

    def _scored(self, weights: list[np.ndarray], first: int, stride: int) -> tuple[float, float]:
        """Sum of cross-entropies and number correct, of every ``stride``-th validation image from ``first`` on.

        Args:
            weights: The model's, but for the moving averages.
            first: Place of an image.
            stride: At least 1.
        """
        averages = [
            (variable, np.array(variable), settled)
            for variable, settled in zip(self.net.model.weights, weights, strict=True)
            if not variable.trainable
        ]
        for variable, _, settled in averages:
            variable.assign(settled)
        try:
            loss, correct = self._score(*self.validation, tf.constant(first), tf.constant(stride))
        finally:
            for variable, before, _ in averages:
                variable.assign(before)
        return float(loss), float(correct)

    @property
    def images_seen(self) -> int:
        """Images trained on since the start."""
        whole, rest = divmod(self.progress.steps, self.steps_per_epoch)
        return whole * self.count + min(rest * self.spec.batch_size, self.count)

    def state(self) -> bytes:
        """Everything that ``restore`` needs to go on exactly here."""
        progress = np.array([getattr(self.progress, name) for name in Progress.__slots__], np.float64)
        arrays = {f"v{place:04d}": np.asarray(variable) for place, variable in enumerate(self._variables())}
        best = {f"w{place:04d}": weight for place, weight in enumerate(self.kept_weights)}
        said = np.array([list(_numbers(report)) for report in self.reports], np.float64)
        buffer = io.BytesIO()
        net = np.array(self._print)
        np.savez(buffer, allow_pickle=False, progress=progress, said=said, net=net, **arrays, **best)
        return buffer.getvalue()

    def restore(self, state: bytes) -> bool:
        """Takes up a training where ``state`` left it; the same data are the caller's duty.

        Returns:
            Whether it is this one's: a job's name can come to stand for another net, as where an older ledger was put
            back.
        """
        with np.load(io.BytesIO(state), allow_pickle=False) as archive:
            if "net" in archive and str(archive["net"]) != self._print:  # older releases don't say
                return False
            for place, variable in enumerate(self._variables()):
                variable.assign(archive[f"v{place:04d}"])
            self.kept_weights = [archive[name] for name in sorted(archive.files) if name.startswith("w")]
            values = dict(zip(Progress.__slots__, archive["progress"].tolist(), strict=True))
            said = np.atleast_2d(archive["said"]).tolist()  # older releases have the last report alone
        self.progress = Progress(**{**values, "reports": int(values["reports"]), "steps": int(values["steps"])})
        self.reports = [_report(numbers) for numbers in said if numbers]
        return True

    def _variables(self) -> list[Any]:
        return [*self.net.model.variables, *self.optimizer.variables]

    def _order_of(self, epoch: int) -> Any:
        if self._order[0] != epoch:
            shuffled = np.random.default_rng([self.spec.seed, epoch]).permutation(self.count)
            self._order = (epoch, tf.constant(shuffled, tf.int32))
        return self._order[1]

    def _trained(self, order: Any, first: int, last: int, batch: int) -> np.ndarray:
        """As ``_run_steps``. The bounds go in as tensors: numbers would make a new graph for each pair of them."""
        return np.asarray(self._steps(order, tf.constant(first), tf.constant(last), batch))

    def _run_steps(self, order: Any, first: Any, last: Any, batch: int) -> Any:
        """Steps ``first`` to ``last`` of an epoch -> float32 (loss sum, correct, images)."""

        def one(step: Any, totals: Any) -> tuple[Any, Any]:
            start = step * self.spec.batch_size
            chosen = order[start : start + batch]
            chosen.set_shape([batch])
            found = self._one_step(tf.gather(self.images, chosen), tf.gather(self.labels, chosen))
            return step + 1, totals + found

        return tf.while_loop(lambda step, _: step < last, one, (first, tf.zeros(3)), parallel_iterations=1)[1]

    def _one_step(self, images: Any, labels: Any) -> Any:
        """One optimizer step on uint8 (batch, h, w, c) and (batch,) -> float32 (loss sum, correct, images)."""
        pixels = tf.cast(images, tf.float32)
        if self.spec.flip or self.spec.shift or self.spec.cutout:
            draw = tf.stack([tf.constant(self.spec.seed, tf.int64), tf.cast(self.optimizer.iterations, tf.int64)])
            pixels = augmented(pixels, draw, flip=self.spec.flip, shift=self.spec.shift, cutout=self.spec.cutout)
        model = self.net.logits
        with tf.GradientTape() as tape:
            logits = tf.cast(model(pixels, training=True), tf.float32)  # (batch, classes)
            losses = self._losses(labels, logits)  # (batch,)
            loss = tf.reduce_mean(losses)
        weights = model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return tf.stack([tf.reduce_sum(losses), _correct(labels, logits), tf.cast(tf.shape(labels)[0], tf.float32)])

    def _losses(self, labels: Any, logits: Any) -> Any:
        smoothing = self.spec.label_smoothing
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), logits)
        if not smoothing:
            return plain
        even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return (1.0 - smoothing) * plain + smoothing * even

    def _run_score(self, images: Any, labels: Any, first: Any, stride: Any) -> Any:
        """uint8 (n, h, w, c), (n,) -> float32 sum of cross-entropies, number correct, of every ``stride``-th."""
        batch = _SCORE_BATCH * stride

        def some(start: Any, loss: Any, correct: Any) -> tuple[Any, Any, Any]:
            truth = tf.ensure_shape(labels[start : start + batch : stride], [None])
            chosen = tf.ensure_shape(images[start : start + batch : stride], [None, *images.shape[1:]])
            pixels = tf.cast(chosen, tf.float32)
            logits = tf.cast(self.net.logits(pixels, training=False), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(truth, tf.int32), logits)
            return start + batch, loss + tf.reduce_sum(losses), correct + _correct(truth, logits)

        zero, count = tf.constant(0.0), tf.shape(labels)[0]
        return tf.while_loop(lambda start, *_: start < count, some, (first, zero, zero))[1:]


def fit(
    training: Training,
    report_at: tuple[float, ...],
    report: ReportTo,
    save: Callable[[bytes], None],
    keep: Keep = "best",
    steady_at: tuple[float, ...] = (),
    steady_alone_at: tuple[float, ...] = (),
) -> Outcome:
    """Trains on through the report points that are left, saving before each report.

    Args:
        training: Fresh, or restored from a checkpoint.
        report_at: Epochs at which to score, save and report, ascending.
        report: Gets each report.
        save: Gets the whole state before the report that belongs to it.
        keep: See ``TrialJob``.
        steady_at: See ``TrialJob``.
        steady_alone_at: See ``TrialJob``.

    Raises:
        Diverged: The loss became infinite or NaN.
    """
    for earlier in training.reports:  # whoever saved them may have died before the last was told
        report(earlier)
    if training.progress.reports < len(report_at):
        training.prepare()
    for place in range(training.progress.reports, len(report_at)):
        epoch = report_at[place]
        begun, before = time.perf_counter(), training.progress.train_s
        steady = training.advance(epoch, steady=epoch in steady_at)
        alone = steady if epoch in steady_alone_at else None
        val_loss, val_accuracy, scored = training.score() if alone is None else (*alone, [])
        now = training.progress
        said = Report(
            place=place,
            epoch=epoch,
            train_loss=now.loss_sum / now.seen,
            train_accuracy=now.correct / now.seen,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            train_s=now.train_s,
            images=training.images_seen,
            steady_accuracy=None if steady is None else steady[1],
            score_s=time.perf_counter() - begun - (now.train_s - before),
        )
        if not said.finite:
            name, loss = ("", said.train_loss) if not math.isfinite(said.train_loss) else ("validation ", said.val_loss)
            raise Diverged(f"the {name}loss became {loss} in epoch {math.ceil(epoch)}")
        better = val_accuracy > now.best_val_accuracy and alone is None
        if better:
            now = replace(now, best_epoch=epoch, best_val_accuracy=val_accuracy)
        if better or (keep == "last" and alone is None):
            training.kept_weights = scored
        training.progress = replace(now, reports=place + 1)
        training.reports.append(said)
        save(training.state())
        report(said)
    return Outcome(training.progress, nets.weights_to_bytes(training.kept_weights), _peak_bytes())


def _over(images: np.ndarray) -> Any:
    """A tensor over the images' own memory, which workers that map one file have in common.

    It is a copy where a GPU is to have it, or where they don't lie as TensorFlow's kernels need it.
    """
    fit = images.flags.c_contiguous and images.flags.writeable and images.ctypes.data % _ALIGNED == 0
    if fit and not tf.config.get_visible_devices("GPU"):
        return tf.experimental.dlpack.from_dlpack(images.__dlpack__())
    return tf.constant(images)


def _numbers(report: Report) -> Iterator[float]:
    """The report's values in order, what is missing as NaN."""
    values = (getattr(report, name) for name in Report.__slots__)
    return (math.nan if value is None else value for value in values)


def _report(numbers: Sequence[float]) -> Report:
    """The inverse of ``_numbers``; an older release's may be fewer."""
    said = dict(zip(Report.__slots__, numbers, strict=False))
    known = {name: value for name, value in said.items() if not math.isnan(value) or name not in _MAY_BE_MISSING}
    return Report(**{**known, "place": int(said["place"]), "images": int(said["images"])})  # type: ignore[arg-type]


def _correct(labels: Any, logits: Any) -> Any:
    """Number of rows of ``logits`` whose largest value is at the label."""
    hits = tf.argmax(logits, axis=-1, output_type=tf.int32) == tf.cast(labels, tf.int32)
    return tf.reduce_sum(tf.cast(hits, tf.float32))


def _optimizer(spec: TrainSpec, steps: int, *, fused: bool) -> Any:
    rate: Any = spec.learning_rate
    if spec.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(spec.learning_rate, steps)
    elif spec.schedule == "one_cycle":
        up = max(1, steps // 4)
        rate = keras.optimizers.schedules.CosineDecay(
            spec.learning_rate / 25, max(1, steps - up), warmup_target=spec.learning_rate, warmup_steps=up
        )
    if spec.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=spec.momentum, nesterov=spec.momentum > 0)
    if spec.optimizer == "adamw":
        return (FusedAdamW if fused else keras.optimizers.AdamW)(rate, weight_decay=spec.weight_decay)
    return (FusedAdam if fused else keras.optimizers.Adam)(rate)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
