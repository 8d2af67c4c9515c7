"""Fashion-MNIST: four files known by their sums, found or fetched.

The one place that knows how large its images are and how many classes it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fmnist_sweep.data.arrays import LabelledImages, read_idx
from fmnist_sweep.errors import DataError
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

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of a data set before it is read.

    Attributes:
        name: Of the data set.
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

    name: str
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
    name="fashion-mnist",
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
class KnownFiles:
    """A folder whose four files were checked against the sums of a catalogue.

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
    about: str = ""

    @property
    def name(self) -> str:
        """See ``DataSource``."""
        return self.catalogue.name

    @property
    def fingerprint(self) -> str:
        """Over the originals' sums: the same data has the same one in every packing."""
        text = "\n".join(f"{facts.md5}  {facts.name}" for facts in self.catalogue.files)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See ``DataSource``."""
        return self.catalogue.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """See ``DataSource``."""
        return self.catalogue.class_names

    @property
    def train_limit(self) -> int:
        """See ``DataSource``."""
        return self.catalogue.train_limit

    @property
    def validation_count(self) -> int:
        """See ``DataSource``."""
        return self.catalogue.validation_count

    @property
    def test_count(self) -> int:
        """See ``DataSource``."""
        return self.catalogue.test_count

    def training(self) -> LabelledImages:
        """See ``DataSource``; the last images are for validation, as in the lab's notebook."""
        facts = self.catalogue
        return _decode(self, facts.train_images, facts.train_labels, facts.train_count)

    def test(self) -> LabelledImages:
        """See ``DataSource``."""
        facts = self.catalogue
        return _decode(self, facts.test_images, facts.test_labels, facts.test_count)


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
) -> KnownFiles:
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


def _look(folder: Path, origin: str, catalogue: Catalogue) -> tuple[list[FileState], KnownFiles]:
    states = [examine(folder / facts.name, facts) for facts in catalogue.files]
    md5 = tuple((facts.name, state.md5) for facts, state in zip(catalogue.files, states, strict=True))
    return [state for state in states if state.fault], KnownFiles(folder, origin, md5, catalogue)


def _named(folder: Path, catalogue: Catalogue) -> KnownFiles:
    faults, source = _look(folder, "--data-dir", catalogue)
    if faults:
        what = faults[0].fault if folder.is_dir() else f"{folder} is no folder, so {faults[0].fault}"
        raise DataError(f"{what}; put the original file there, or leave out --data-dir and FMNIST_DATA_DIR")
    return source


def _fetched(
    cache: Path, faults: list[FileState], say: Callable[[str], None], catalogue: Catalogue, plan: FetchPlan
) -> KnownFiles:
    for state in faults:
        if not state.missing:
            say(f"{state.fault}; fetching it again")
    fetch_into(cache, catalogue.files, say, plan)
    left, source = _look(cache, "cache", catalogue)
    if left:
        raise DataError(f"{left[0].fault}, although it was just fetched; {ADVICE}")
    return source


def _decode(source: KnownFiles, image_facts: FileFacts, label_facts: FileFacts, count: int) -> LabelledImages:
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
