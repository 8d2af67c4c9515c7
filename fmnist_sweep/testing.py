"""Scores trained nets on the sealed test set: the only place that opens it for the finals.

Runs in a process of its own that has Keras loaded, once for all nets of a comparison. All that is ever to be
known of the test images is taken along from the one opening.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import duplicates, durable
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.data import DataSource, PreparedData, open_test_set
from fmnist_sweep.duplicates import Duplicates
from fmnist_sweep.errors import ExportError
from fmnist_sweep.scores import TestScore, mistakes, packed, packed_classes

_BATCH = 500
MANY = 64
_TURNS = 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained net to score.

    Attributes:
        key: The job's.
        arch: The net.
        weights: File with its weights.
        sha256: Of that file.
        leads: Whether it is a run of the net whose mistakes are to be shown.
    """

    key: str
    arch: ArchSpec
    weights: Path
    sha256: str
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """What one opening of the test set tells.

    Attributes:
        scores: By the candidate's key.
        labels: The true classes, as ``scores.packed_classes`` packs them.
        duplicates: Test images that the training file holds as well; None where they are known already.
        mistakes: What the leading net gets wrong, as JSON; each image as an 8-bit PNG in Base64.
    """

    scores: dict[str, TestScore]
    labels: str
    duplicates: Duplicates | None
    mistakes: list[dict[str, Any]]


def check(candidates: Iterable[Candidate]) -> None:
    """Raises ExportError if weights are missing or were altered."""
    for candidate in candidates:
        if not durable.is_whole(candidate.weights, candidate.sha256):
            sha256 = candidate.sha256
            raise ExportError(
                f"{candidate.key}: {candidate.weights} is missing or was altered (its sha256 is not {sha256})"
            )


def score(candidates: list[Candidate], source: DataSource, data: PreparedData, find_duplicates: bool) -> Opened:
    """Opens the test set and scores every candidate on all of it.

    Args:
        candidates: The nets.
        source: Where the test set is.
        data: The training file, unpacked.
        find_duplicates: Whether to compare its images with the test images.

    Raises:
        ExportError: Weights that are missing or were altered; nothing is scored then.
        DataError: The files aren't the test set.
    """
    check(candidates)
    test = open_test_set(source)
    scores, leading = {}, []
    for candidate in candidates:
        scores[candidate.key], probabilities = _score(candidate, test.images, test.labels)
        leading += [probabilities] if candidate.leads else []
    missed = mistakes(leading, test.labels) if leading else []
    known = np.load(data.images, mmap_mode="r", allow_pickle=False) if find_duplicates else None
    return Opened(
        scores=scores,
        labels=packed_classes(test.labels),
        duplicates=None if known is None else duplicates.find(known, test.images),
        mistakes=[{**asdict(it), "png": _png(test.images[it.index])} for it in missed],
    )


def _score(
    candidate: Candidate, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[TestScore, NDArray[np.float64]]:
    """The score, and the probabilities that it rests on, shape (images, classes)."""
    from fmnist_sweep.model import rebuild

    model = rebuild(candidate.arch, candidate.weights.read_bytes())
    found = [
        np.asarray(model.predict_on_batch(np.asarray(images[start : start + _BATCH], np.float32)), np.float64)
        for start in range(0, len(images), _BATCH)
    ]
    probabilities = np.concatenate(found)  # (images, classes)
    classes = probabilities.argmax(-1)
    likely = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
    score = TestScore(
        accuracy=float((classes == labels).mean()),
        loss=float(-np.log(likely).mean()),
        images=len(labels),
        correct=packed(classes == labels),
        latency_ms=latency_ms(model.predict_on_batch, images[:1]),
        batch_latency_ms=latency_ms(model.predict_on_batch, images[:MANY]),
        predicted=packed_classes(classes),
    )
    return score, probabilities


def _png(image: NDArray[np.uint8]) -> str:
    """An image (height, width, channels) as a PNG in Base64, in colour where it has three channels."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def latency_ms(predict: Callable[[NDArray[np.float32]], object], images: NDArray[np.uint8]) -> float:
    """Milliseconds for a batch of raw images, the median of turns after some to warm up."""
    batch = np.asarray(images, np.float32)
    spent: list[float] = []
    for _ in range(_TURNS):
        begun = time.perf_counter()
        predict(batch)
        spent.append(time.perf_counter() - begun)
    return round(1000 * float(np.median(spent[_TURNS // 4 :])), 3)
