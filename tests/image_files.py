"""Image files for tests: a tiny set with its own sums in the place of Fashion-MNIST, and coloured shapes as another."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import data
from fmnist_sweep.data import Catalogue, KnownFiles
from fmnist_sweep.fetch import FetchPlan, FileFacts, Version

NOWHERE = FetchPlan(mirrors=())


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.astype(np.uint8).tobytes()


def fill(folder: Path, *, labels_below: int = 3, seed: int = 0) -> Catalogue:
    """Writes a set of 50 + 10 images of 6x5 pixels in 3 classes; the last 10 of the 50 are for validation."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    facts = []
    for part, count in (("train", 50), ("t10k", 10)):
        for name, array in (
            (f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 6, 5))),
            (f"{part}-labels-idx1-ubyte.gz", np.arange(count) % labels_below),
        ):
            packed = gzip.compress(idx(array), mtime=0)
            (folder / name).write_bytes(packed)
            facts.append(FileFacts(name, (Version(hashlib.md5(packed).hexdigest(), len(packed)),)))
    return Catalogue(
        name="clothes",
        train_images=facts[0],
        train_labels=facts[1],
        test_images=facts[2],
        test_labels=facts[3],
        image_shape=(6, 5, 1),
        class_names=("shirt", "shoe", "bag"),
        train_count=50,
        test_count=10,
        validation_count=10,
    )


def look(tmp_path: Path, catalogue: Catalogue, plan: FetchPlan = NOWHERE, *, fetch: bool = True) -> KnownFiles:
    return data.find(
        None, cache=tmp_path / "cache", system=tmp_path / "system", fetch=fetch, catalogue=catalogue, plan=plan
    )


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


SHAPES = ("disc", "bar", "cross")


def shapes(count: int, seed: int = 0, size: tuple[int, int] = (12, 10)) -> tuple[np.ndarray, np.ndarray]:
    """Coloured shapes on a dark ground, sorted by class: uint8 images (count, height, width, 3), int64 labels."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(count) % len(SHAPES))
    height, width = size
    down, across = np.mgrid[0:height, 0:width]
    images = rng.integers(0, 60, (count, height, width, 3))
    for image, label in zip(images, labels, strict=True):
        y, x = height // 2 + rng.integers(-1, 2), width // 2 + rng.integers(-1, 2)
        disc = (down - y) ** 2 + (across - x) ** 2 <= (width // 3) ** 2
        bar = abs(across - x) <= width // 10
        shape = (disc, bar, bar | (abs(down - y) <= width // 10))[label]
        image[shape] += rng.integers(100, 195, 3)
    return images.astype(np.uint8), labels
