"""Scores trained nets on the sealed test set: the only place that opens it for the finals.

Runs in a process of its own that has Keras loaded, once for all nets of a comparison.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.data import DataSource, open_test_set
from fmnist_sweep.errors import ExportError
from fmnist_sweep.scores import TestScore, packed

_BATCH = 500
_MANY = 64
_TURNS = 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained net to score.

    Attributes:
        key: The job's.
        arch: The net.
        weights: File with its weights.
        sha256: Of that file.
    """

    key: str
    arch: ArchSpec
    weights: Path
    sha256: str


def score(candidates: list[Candidate], source: DataSource) -> dict[str, TestScore]:
    """Opens the test set and scores every candidate on all of it.

    Raises:
        ExportError: Weights that are missing or were altered; nothing is scored then.
    """
    for candidate in candidates:
        if not candidate.weights.exists() or durable.sha256(candidate.weights) != candidate.sha256:
            raise ExportError(f"{candidate.key}: {candidate.weights} is missing or was altered")
    test = open_test_set(source)
    return {candidate.key: _score(candidate, test.images, test.labels) for candidate in candidates}


def _score(candidate: Candidate, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> TestScore:
    from fmnist_sweep.model import rebuild

    model = rebuild(candidate.arch, candidate.weights.read_bytes())
    found = [
        np.asarray(model.predict_on_batch(np.asarray(images[start : start + _BATCH], np.float32)), np.float64)
        for start in range(0, len(images), _BATCH)
    ]
    probabilities = np.concatenate(found)  # (images, classes)
    hits = probabilities.argmax(-1) == labels
    likely = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
    return TestScore(
        accuracy=float(hits.mean()),
        loss=float(-np.log(likely).mean()),
        images=len(labels),
        correct=packed(hits),
        latency_ms=_latency_ms(model, images[:1]),
        batch_latency_ms=_latency_ms(model, images[:_MANY]),
    )


def _latency_ms(model: object, images: NDArray[np.uint8]) -> float:
    batch = np.asarray(images, np.float32)
    spent = []
    for _ in range(_TURNS):
        begun = time.perf_counter()
        model.predict_on_batch(batch)  # type: ignore[attr-defined]
        spent.append(time.perf_counter() - begun)
    return round(1000 * float(np.median(spent[_TURNS // 4 :])), 3)
