"""How a trained net does on the test set, image by image: values that the ledger keeps."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKES_KEPT = 60


@dataclass(frozen=True, slots=True)
class TestScore:
    """How a net does on the test set.

    Attributes:
        accuracy: Share of the images that it classifies correctly, 0 to 1.
        loss: Mean cross-entropy.
        images: Size of the test set.
        correct: Which images, as ``packed`` packs them.
        latency_ms: Milliseconds for one image, the median of many.
        batch_latency_ms: Milliseconds for 64 images at once, the median of many.
        predicted: The class of each image, as ``packed_classes`` packs them; "" in ledgers of older releases.
    """

    __test__ = False

    accuracy: float
    loss: float
    images: int
    correct: str
    latency_ms: float
    batch_latency_ms: float
    predicted: str = ""

    def hits(self) -> NDArray[np.bool_]:
        """Which images are classified correctly, shape (images,)."""
        bits = np.frombuffer(base64.b64decode(self.correct), np.uint8)
        return np.unpackbits(bits, count=self.images).astype(bool)

    def classes(self) -> NDArray[np.uint8] | None:
        """The class that each image is given, shape (images,); None where that was not recorded."""
        return unpacked_classes(self.predicted) if self.predicted else None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that most runs of one net get wrong.

    Attributes:
        index: Of the image in the test set.
        label: Its true class.
        predicted: The wrong class that most runs give it.
        votes: How many runs give it that class.
        probability: That the runs give that class on average, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    votes: int
    probability: float


def packed(hits: NDArray[np.bool_]) -> str:
    """One bit for each image, eight to a byte, in Base64: 1.7 kB for 10,000 images."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def packed_classes(classes: NDArray[np.integer]) -> str:
    """One byte for each image, compressed, in Base64: about 6 kB for 10,000 images."""
    return base64.b64encode(zlib.compress(classes.astype(np.uint8).tobytes(), 9)).decode()


def unpacked_classes(text: str) -> NDArray[np.uint8]:
    """The inverse of ``packed_classes``."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def mistakes(
    probabilities: Sequence[NDArray[np.float64]], labels: NDArray[np.uint8], most: int = MISTAKES_KEPT
) -> list[Mistake]:
    """The images that more than half of the runs get wrong: most votes first, then the surest.

    Args:
        probabilities: Of each run, shape (images, classes).
        labels: True classes, shape (images,).
        most: How many to return at most.
    """
    found = np.stack([run.argmax(axis=-1) for run in probabilities])  # (runs, images)
    mean = np.mean(probabilities, axis=0)  # (images, classes)
    missed = []
    for index in np.flatnonzero((found != labels).sum(axis=0) * 2 > len(found)):
        votes = np.bincount(found[:, index], minlength=mean.shape[1])
        votes[labels[index]] = 0
        predicted = int(np.lexsort((mean[index], votes))[-1])
        probability = float(mean[index, predicted])
        missed.append(Mistake(int(index), int(labels[index]), predicted, int(votes[predicted]), probability))
    return sorted(missed, key=lambda it: (-it.votes, -it.probability))[:most]
