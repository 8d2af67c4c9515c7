"""Compares a format with the original; runs in a process of its own, as a converter may crash or chatter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import durable
from fmnist_sweep.data import DataSource, PreparedData, open_test_set
from fmnist_sweep.exporting.base import Floats, Format, Predict
from fmnist_sweep.exporting.keras import predictor
from fmnist_sweep.testing import MANY, Candidate, latency_ms

TOLERANCE = 1e-4
LOSS_LIMIT = 0.01
SAMPLES = 500
_BATCH = 500
_INVERTED = 2_000  # images, at least, where there are as many


@dataclass(frozen=True, slots=True)
class Material:
    """What a model is exported from and checked with; small enough to send to a process.

    Attributes:
        model: The trained net.
        source: Where the test set is.
        data: Training and validation images.
    """

    model: Candidate
    source: DataSource
    data: PreparedData


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """What the original says, measured once for all formats.

    Attributes:
        probabilities: For every test image, float32 (images, classes).
        confusion: Validation images by true and by predicted class, shape (classes, classes).
        inverted: Accuracy on some of the validation images with dark and light exchanged, 0 to 1.
    """

    probabilities: Floats
    confusion: NDArray[np.int64]
    inverted: float

    @property
    def val_accuracy(self) -> float:
        """Share of the validation images, 0 to 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())


@dataclass(frozen=True, slots=True)
class FormatCheck:
    """One format, compared with the original over the images of the test set.

    Attributes:
        path: File or folder, relative to the export's.
        bytes: Size of all its files.
        files: SHA-256 by path of each file, relative to the export's folder.
        images: How many were compared.
        max_abs_difference: Largest difference of a probability.
        argmax_agreement: Share of the images that get the same class, 0 to 1.
        latency_ms: Milliseconds for one image, the median of many.
        batch_latency_ms: Milliseconds for 64 images at once, likewise.
        val_accuracy: On the validation images, 0 to 1; None for a format that gives what the original gives.
        val_accuracy_loss: How much lower that is than the original's; None likewise.
    """

    path: str
    bytes: int
    files: dict[str, str]
    images: int
    max_abs_difference: float
    argmax_agreement: float
    latency_ms: float
    batch_latency_ms: float
    val_accuracy: float | None = None
    val_accuracy_loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For the manifest, without what was not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def refusal(form: Format, check: FormatCheck) -> str:
    """Why a format may not be handed out; "" if it may.

    Whatever is said to be the model must give each image the class that the model gives it. A net in 8-bit
    integers can't, so what counts is that it is about as good: it may lose one point of accuracy, the margin that
    MLPerf leaves to such nets (Reddi et al., MLPerf Inference Benchmark, 2020, section IV).
    """
    if form.exact:
        if check.max_abs_difference <= TOLERANCE and check.argmax_agreement == 1:
            return ""
        same = round(check.argmax_agreement * check.images)
        return (
            f"disagrees with the original: largest difference {check.max_abs_difference:.2g} (valid: up to "
            f"{TOLERANCE:g}), same class for {same:,} of {check.images:,} images"
        )
    lost = check.val_accuracy_loss
    if lost is not None and lost <= LOSS_LIMIT:
        return ""
    return f"is no longer as good: accuracy falls by {100 * (lost or 0):.2f} points (valid: up to {100 * LOSS_LIMIT:g})"


def measure(material: Material) -> Original:
    """Rebuilds the original and takes down what it says. Of the test set it reads the images and no label.

    Raises:
        ExportError: The weights don't fit the net.
    """
    predict = predictor(_rebuilt(material.model))
    split = material.data.load()
    guesses = run(predict, split.validation_images).argmax(-1)
    classes = material.data.classes
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (split.validation_labels, guesses), 1)
    some = slice(None, None, max(1, len(split.validation_labels) // _INVERTED))  # they may be sorted by class
    hits = run(predict, 255 - split.validation_images[some]).argmax(-1) == split.validation_labels[some]
    return Original(run(predict, open_test_set(material.source).images), confusion, float(hits.mean()))


def convert(form: Format, material: Material, original: Original, folder: Path) -> FormatCheck:
    """Writes the model in one format into ``folder``, reads it back and compares it with the original."""
    split = material.data.load()
    samples = split.train_images[:: max(1, len(split.train_images) // SAMPLES)][:SAMPLES]
    path = folder / form.path
    form.write(_rebuilt(material.model), path, np.asarray(samples, np.float32))
    predict = form.load(path)
    images = open_test_set(material.source).images
    found = run(predict, images)
    accuracy = None
    if not form.exact:
        accuracy = float((run(predict, split.validation_images).argmax(-1) == split.validation_labels).mean())
    files = checksums(path, folder)
    return FormatCheck(
        path=form.path,
        bytes=sum((folder / name).stat().st_size for name in files),
        files=files,
        images=len(images),
        max_abs_difference=float(np.abs(found - original.probabilities).max()),
        argmax_agreement=float((found.argmax(-1) == original.probabilities.argmax(-1)).mean()),
        latency_ms=latency_ms(predict, images[:1]),
        batch_latency_ms=latency_ms(predict, images[:MANY]),
        val_accuracy=accuracy,
        val_accuracy_loss=None if accuracy is None else original.val_accuracy - accuracy,
    )


def checksums(path: Path, folder: Path) -> dict[str, str]:
    """SHA-256 of a file, or of each file in a folder, by its path relative to ``folder``."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if not file.is_dir())
    return {file.relative_to(folder).as_posix(): durable.sha256(file) for file in files}


def run(predict: Predict, images: NDArray[np.uint8]) -> Floats:
    """Probabilities of any number of raw images, shape (images, classes)."""
    batches = [np.asarray(images[start : start + _BATCH], np.float32) for start in range(0, len(images), _BATCH)]
    return np.concatenate([predict(batch) for batch in batches])


def _rebuilt(model: Candidate) -> Any:
    import tensorflow as tf

    from fmnist_sweep.model import rebuild

    # All formats are compared on the CPU: a GPU may round factors to 10 bits (TensorFloat-32).
    tf.config.set_visible_devices([], "GPU")
    return rebuild(model.arch, model.weights.read_bytes(), name=model.key.replace("-", "_"))
