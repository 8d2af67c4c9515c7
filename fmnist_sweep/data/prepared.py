"""The images of a sweep as its workers see them: unpacked, split, mapped into memory.

Training and validation images reach the workers through ``prepare``. The test images have one door of
their own, ``open_test_set``, and are never written where a worker reads.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_sweep import durable
from fmnist_sweep.data import imageset
from fmnist_sweep.data.arrays import Bytes, LabelledImages
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST, find, ignore
from fmnist_sweep.data.source import DataSource
from fmnist_sweep.errors import DataError, UsageError
from fmnist_sweep.schema import DataSection


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a trial trains on and is scored on."""

    train_images: Bytes
    train_labels: Bytes
    validation_images: Bytes
    validation_labels: Bytes


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The training file, unpacked for workers to map into memory; small enough to send to each of them.

    Attributes:
        images: The ``.npy`` file of all images, training first, validation last.
        labels: The ``.npy`` file of their labels.
        image_shape: Height, width and channels.
        class_names: By label.
        fingerprint: Of the data set.
        train_images: How many of the first images to train on.
        validation_images: How many of the last images are for validation.
    """

    images: Path
    labels: Path
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    fingerprint: str
    train_images: int = FASHION_MNIST.train_limit
    validation_images: int = FASHION_MNIST.validation_count

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def load(self) -> Split:
        """Maps the images into memory; what is changed there never reaches the files.

        Raises:
            DataError: A file is missing or no longer what ``prepare`` wrote.
        """
        images, labels = _map(self.images), _map(self.labels)
        count = len(images)
        if len(labels) != count or count < self.train_images + self.validation_images:
            raise DataError(f"{self.images} holds {count} images and {self.labels} {len(labels)} labels; prepare again")
        last = count - self.validation_images
        return Split(images[: self.train_images], labels[: self.train_images], images[last:], labels[last:])


class Facts(NamedTuple):
    """What is known of a sweep's images without reading them; ``train_limit``: how many it trains on at most."""

    image_shape: tuple[int, int, int]
    classes: int
    train_limit: int


def facts_of(section: DataSection, data_dir: Path | None = None) -> Facts:
    """Shape, classes and number of the images of a sweep; of another image set by its headers and labels.

    Raises:
        DataError: Files that the sweep names are missing or damaged.
    """
    known = FASHION_MNIST if section.train is None else imageset.find(section, data_dir)
    return Facts(known.image_shape, len(known.class_names), section.train_images or known.train_limit)


def source_of(
    section: DataSection, data_dir: Path | None, *, fetch: bool = True, say: Callable[[str], None] = ignore
) -> DataSource:
    """The data set of a sweep: the files that it names, else Fashion-MNIST.

    Raises:
        DataError: A file is missing, truncated or altered, and there is no other place to take it from.
    """
    if section.train is None:
        return find(data_dir, fetch=fetch, say=say)
    return imageset.find(section, data_dir)


def prepare(source: DataSource, store: Path, *, train_images: int | None = None) -> PreparedData:
    """Unpacks the training file into ``store``, or checks what an earlier call left there and mends it.

    Args:
        source: From ``source_of``.
        store: The folder for the unpacked files.
        train_images: How many images to train on; all that aren't for validation by default.

    Raises:
        DataError: The files aren't the data set, or ``store`` can't be written.
        UsageError: ``train_images`` is out of range.
    """
    count = source.train_limit if train_images is None else train_images
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= source.train_limit:
        raise UsageError(f"--train-images is {count!r}; valid: a whole number from 1 to {source.train_limit}")
    mark = source.fingerprint
    images, labels, sums = (
        store / f"train-{end}" for end in (f"images-{mark}.npy", f"labels-{mark}.npy", f"{mark}.json")
    )
    try:
        if not _intact(sums, (images, labels)):
            found = source.training()
            durable.write(images, _npy(found.images))
            durable.write(labels, _npy(found.labels))
            text = json.dumps({path.name: durable.sha256(path) for path in (images, labels)}, indent=2)
            durable.write(sums, text.encode())
    except OSError as error:
        raise DataError(f"can't keep the unpacked images in {store}: {error.strerror or error}") from error
    return PreparedData(
        images, labels, source.image_shape, source.class_names, mark, count, validation_images=source.validation_count
    )


def open_test_set(source: DataSource) -> LabelledImages:
    """The test images. Only the finals and the checks of an export may call this.

    Raises:
        DataError: The files aren't the test set.
    """
    return source.test()


def _npy(array: Bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _map(path: Path) -> Bytes:
    try:
        array: Bytes = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}; start again, which mends it") from error
    return array


def _intact(sums: Path, files: tuple[Path, ...]) -> bool:
    try:
        return bool(json.loads(sums.read_bytes()) == {path.name: durable.sha256(path) for path in files})
    except (FileNotFoundError, ValueError):
        return False
