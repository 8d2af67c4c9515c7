"""How a trained net does on the test set, image by image: a value that the ledger keeps."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    """

    __test__ = False

    accuracy: float
    loss: float
    images: int
    correct: str
    latency_ms: float
    batch_latency_ms: float

    def hits(self) -> NDArray[np.bool_]:
        """Which images are classified correctly, shape (images,)."""
        bits = np.frombuffer(base64.b64decode(self.correct), np.uint8)
        return np.unpackbits(bits, count=self.images).astype(bool)


def packed(hits: NDArray[np.bool_]) -> str:
    """One bit for each image, eight to a byte, in Base64: 1.7 kB for 10,000 images."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()
