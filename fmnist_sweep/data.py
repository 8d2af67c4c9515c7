"""The Fashion-MNIST data set: finding it, checking it, and splitting it.

Training and validation images reach the workers through ``prepare``. The test images have one door of
their own, ``open_test_set``, and are never written where a worker reads.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import durable
from fmnist_sweep.errors import DataError, UsageError
from fmnist_sweep.fetch import (
    ADVICE,
    FetchPlan,
    FileFacts,
    FileState,
    Version,
    default_cache,
    examine,
    fetch_into,
)

Bytes = NDArray[np.uint8]

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MAX_IDX_BYTES = 1 << 32


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of a data set before it is read.

    Attributes:
        train_images: The file of the training images, validation included.
        train_labels: Their labels.
        test_images: The file of the test images.
        test_labels: Their labels.
        image_shape: Height, width and channels.
        class_names: By label.
        train_count: Images in the training file.
        test_count: Images in the test file.
        validation_count: How many of the training file, its last ones, are for validation.
    """

    train_images: FileFacts
    train_labels: FileFacts
    test_images: FileFacts
    test_labels: FileFacts
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_count: int
    test_count: int
    validation_count: int

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """All four files."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @property
    def train_limit(self) -> int:
        """The most images there are to train on."""
        return self.train_count - self.validation_count


CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# Debian's files are the originals without the name and the time in gzip's header, so each has a second sum.
FASHION_MNIST = Catalogue(
    train_images=FileFacts(
        "train-images-idx3-ubyte.gz",
        (
            Version("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            Version("cf8536b0aa1a6ac5fa3f23001093305c", 26_421_856),
        ),
    ),
    train_labels=FileFacts(
        "train-labels-idx1-ubyte.gz",
        (Version("25c81989df183df01b3e8a0aad5dffbe", 29_515), Version("10bea18fdb374794d4bb42e356e600c9", 29_491)),
    ),
    test_images=FileFacts(
        "t10k-images-idx3-ubyte.gz",
        (
            Version("bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            Version("f78720b4224f21cce2f2ccf2d7a94c9a", 4_422_079),
        ),
    ),
    test_labels=FileFacts(
        "t10k-labels-idx1-ubyte.gz",
        (Version("bb300cfdad3c16e7a12a480ee83cd310", 5_148), Version("0d30e22e447f3c33dab9ed536400ac01", 5_125)),
    ),
    image_shape=(28, 28, 1),
    class_names=CLASSES,
    train_count=60_000,
    test_count=10_000,
    validation_count=12_000,
)

PUBLIC_PLACES = FetchPlan(
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    package="dataset-fashion-mnist",
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """A folder whose four files were checked.

    Attributes:
        folder: Where they are.
        origin: In words: ``--data-dir``, ``Debian's package`` or ``cache``.
        md5: Name and sum of each file as found.
        catalogue: What the files hold.
    """

    folder: Path
    origin: str
    md5: tuple[tuple[str, str], ...]
    catalogue: Catalogue = field(default=FASHION_MNIST, repr=False)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over the originals' sums: the same data has the same one in every packing."""
        text = "\n".join(f"{facts.md5}  {facts.name}" for facts in self.catalogue.files)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images (count, height, width, channels) and their labels."""

    images: Bytes
    labels: Bytes


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
        """Maps the images into memory, read-only.

        Raises:
            DataError: A file is missing or no longer what ``prepare`` wrote.
        """
        images, labels = _map(self.images), _map(self.labels)
        count = len(images)
        if len(labels) != count or count < self.train_images + self.validation_images:
            raise DataError(f"{self.images} holds {count} images and {self.labels} {len(labels)} labels; prepare again")
        last = count - self.validation_images
        return Split(images[: self.train_images], labels[: self.train_images], images[last:], labels[last:])


def ignore(_: str) -> None:
    """Says nothing."""


def find(
    data_dir: Path | None,
    *,
    cache: Path | None = None,
    system: Path = SYSTEM_FOLDER,
    fetch: bool = True,
    say: Callable[[str], None] = ignore,
    catalogue: Catalogue = FASHION_MNIST,
    plan: FetchPlan = PUBLIC_PLACES,
) -> DataSource:
    """Finds the four files and checks their MD5 sums.

    Args:
        data_dir: The only place to look if given; else ``system``, ``cache`` and the network, in turn.
        cache: Where fetched files stay; ``default_cache()`` by default.
        system: Where Debian's package puts the files.
        fetch: Whether the network may be used.
        say: Told what takes time.
        catalogue: What the files must be.
        plan: Where to fetch from.

    Raises:
        DataError: A file is missing, truncated or altered, and there is no other place to take it from.
    """
    if data_dir is not None:
        return _named(data_dir, catalogue)
    faults, source = _look(system, "Debian's package", catalogue)
    if not faults:
        return source
    if not any(state.missing for state in faults):
        raise DataError(f"{faults[0].fault}; reinstall the package, or {ADVICE}")
    folder = default_cache() if cache is None else cache
    faults, source = _look(folder, "cache", catalogue)
    if faults and not fetch:
        raise DataError(f"{faults[0].fault}, {system} isn't complete, and fetching is off; {ADVICE}")
    return _fetched(folder, faults, say, catalogue, plan) if faults else source


def prepare(source: DataSource, store: Path, *, train_images: int | None = None) -> PreparedData:
    """Unpacks the training file into ``store``, or checks what an earlier call left there and mends it.

    Args:
        source: From ``find``.
        store: The folder for the unpacked files.
        train_images: How many images to train on; all that aren't for validation by default.

    Raises:
        DataError: The files aren't the data set, or ``store`` can't be written.
        UsageError: ``train_images`` is out of range.
    """
    facts = source.catalogue
    count = facts.train_limit if train_images is None else train_images
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= facts.train_limit:
        raise UsageError(f"--train-images is {count!r}; valid: a whole number from 1 to {facts.train_limit}")
    mark = source.fingerprint
    images, labels, sums = (
        store / f"train-{end}" for end in (f"images-{mark}.npy", f"labels-{mark}.npy", f"{mark}.json")
    )
    try:
        if not _intact(sums, (images, labels)):
            found = _decode(source, facts.train_images, facts.train_labels, facts.train_count)
            durable.write(images, _npy(found.images))
            durable.write(labels, _npy(found.labels))
            text = json.dumps({path.name: durable.sha256(path) for path in (images, labels)}, indent=2)
            durable.write(sums, text.encode())
    except OSError as error:
        raise DataError(f"can't keep the unpacked images in {store}: {error.strerror or error}") from error
    return PreparedData(
        images, labels, facts.image_shape, facts.class_names, mark, count, validation_images=facts.validation_count
    )


def open_test_set(source: DataSource) -> LabelledImages:
    """The test images. Only the finals and the checks of an export may call this.

    Raises:
        DataError: The files aren't the test set.
    """
    facts = source.catalogue
    return _decode(source, facts.test_images, facts.test_labels, facts.test_count)


def read_idx(path: Path) -> Bytes:
    """Reads an IDX file of unsigned bytes, packed by gzip or not, as a read-only array.

    Raises:
        DataError: The file can't be read, or is damaged.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _parse_idx(raw)
            with gzip.open(raw) as file:
                return _parse_idx(file)  # type: ignore[arg-type]
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is no good IDX file: {error}") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def _parse_idx(file: BinaryIO) -> Bytes:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or not 1 <= magic[3] <= 4:
        raise ValueError(f"it starts with {magic.hex() or 'nothing'}; valid: 00000801 to 00000804")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("it ends within its header")
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    expected = math.prod(shape)
    text = "x".join(str(size) for size in shape)
    if expected > MAX_IDX_BYTES:
        raise ValueError(f"its header names {text} bytes; valid: up to {MAX_IDX_BYTES} bytes")
    # One byte more than needed, so that what follows the data is noticed and gzip checks its own sum.
    content = file.read(expected + 1)
    if len(content) != expected:
        found = f"only {len(content)}" if len(content) < expected else "more"
        raise ValueError(f"its header names {text} = {expected} bytes, it holds {found}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _look(folder: Path, origin: str, catalogue: Catalogue) -> tuple[list[FileState], DataSource]:
    states = [examine(folder / facts.name, facts) for facts in catalogue.files]
    md5 = tuple((facts.name, state.md5) for facts, state in zip(catalogue.files, states, strict=True))
    return [state for state in states if state.fault], DataSource(folder, origin, md5, catalogue)


def _named(folder: Path, catalogue: Catalogue) -> DataSource:
    faults, source = _look(folder, "--data-dir", catalogue)
    if faults:
        what = faults[0].fault if folder.is_dir() else f"{folder} is no folder, so {faults[0].fault}"
        raise DataError(f"{what}; put the original file there, or leave out --data-dir and FMNIST_DATA_DIR")
    return source


def _fetched(
    cache: Path, faults: list[FileState], say: Callable[[str], None], catalogue: Catalogue, plan: FetchPlan
) -> DataSource:
    for state in faults:
        if not state.missing:
            say(f"{state.fault}; fetching it again")
    fetch_into(cache, catalogue.files, say, plan)
    left, source = _look(cache, "cache", catalogue)
    if left:
        raise DataError(f"{left[0].fault}, although it was just fetched; {ADVICE}")
    return source


def _decode(source: DataSource, image_facts: FileFacts, label_facts: FileFacts, count: int) -> LabelledImages:
    for facts in (image_facts, label_facts):
        # Hours may lie between find and the finals.
        if fault := examine(source.folder / facts.name, facts).fault:
            raise DataError(f"{fault}; {ADVICE}")
    height, width, channels = source.catalogue.image_shape
    image_path, label_path = source.folder / image_facts.name, source.folder / label_facts.name
    images, labels = read_idx(image_path), read_idx(label_path)
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    for path, found, expected in ((image_path, images.shape, shape), (label_path, labels.shape, (count,))):
        if found != expected:
            raise DataError(f"{path} has the dimensions {found}; expected {expected}")
    classes = len(source.catalogue.class_names)
    if labels.max() >= classes:
        raise DataError(f"{label_path} holds the label {labels.max()}; valid: 0 to {classes - 1}")
    return LabelledImages(images.reshape(count, height, width, channels), labels)


def _npy(array: Bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _map(path: Path) -> Bytes:
    try:
        array: Bytes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}; start again, which mends it") from error
    return array


def _intact(sums: Path, files: tuple[Path, ...]) -> bool:
    try:
        return bool(json.loads(sums.read_bytes()) == {path.name: durable.sha256(path) for path in files})
    except (FileNotFoundError, ValueError):
        return False
