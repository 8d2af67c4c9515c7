"""Image sets that a sweep file names: pairs of IDX files, or .npz files.

An .npz file holds its arrays under one of three pairs of names: ``train_images`` and ``train_labels`` (with ``val_``
and ``test_`` for the other parts), ``x_train`` and ``y_train`` (likewise ``x_val``, ``x_test``), or plain ``images``
and ``labels``. Whatever part has no file of its own is a share of the training file, drawn class by class, the same
in every study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep.data.arrays import Bytes, LabelledImages, Outline, outline_idx, outlines_npz, read_idx, read_npz
from fmnist_sweep.errors import DataError
from fmnist_sweep.schema import DataSection

Part = Literal["train", "validation", "test"]
Indices = NDArray[np.intp]

_SHORT: dict[Part, str] = {"train": "train", "validation": "val", "test": "test"}
_MAX_CLASSES = 256
_CHANNELS = (1, 3)


class Array(NamedTuple):
    """One array in a file; ``name`` is empty for an IDX file, which holds but one."""

    path: Path
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}[{self.name}]" if self.name else str(self.path)

    def outline(self) -> Outline:
        """Shape and type, by the header."""
        return outlines_npz(self.path)[self.name] if self.name else outline_idx(self.path)

    def read(self) -> NDArray[np.generic]:
        """All of it."""
        return read_npz(self.path, self.name) if self.name else read_idx(self.path)


class Pair(NamedTuple):
    """Images and their labels."""

    images: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class ImageSet:
    """An image set whose headers and labels were checked.

    Attributes:
        name: As the sweep file has it.
        about: Where it comes from, in the user's words.
        folder: Of its training images.
        md5: Name and sum of each file; where two are called alike, the path in the folder that holds all files.
        image_shape: Height, width and channels.
        class_names: By label.
        train_limit: The most images there are to train on.
        validation_count: Images for validation.
        test_count: Images of the test set.
        shares: Of the training file for validation and for the test set; 0 for a part with a file of its own.
        parts: The arrays of each part that has its own.
        origin: In words, where it was found.
    """

    name: str
    about: str
    folder: Path
    md5: tuple[tuple[str, str], ...]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_limit: int
    validation_count: int
    test_count: int
    shares: tuple[float, float]
    parts: tuple[tuple[Part, Pair], ...] = field(repr=False)
    origin: str = "the sweep file"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over the files' sums and the split."""
        text = "\n".join([*(f"{md5}  {name}" for name, md5 in self.md5), f"shares {self.shares}"])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def training(self) -> LabelledImages:
        """The images to train on, shuffled once and for all, then those for validation.

        Raises:
            DataError: The files are damaged, or no longer what they were.
        """
        self._unchanged()
        pairs = dict(self.parts)
        found = self._read(pairs["train"])
        split = partition(found.labels, self._taken(), len(self.class_names))
        if "validation" not in pairs:
            chosen = np.concatenate([split["train"], split["validation"]])
            return LabelledImages(found.images[chosen], found.labels[chosen])
        apart = self._read(pairs["validation"])
        return LabelledImages(
            np.concatenate([found.images[split["train"]], apart.images]),
            np.concatenate([found.labels[split["train"]], apart.labels]),
        )

    def test(self) -> LabelledImages:
        """The test images.

        Raises:
            DataError: As ``training``.
        """
        self._unchanged()
        pairs = dict(self.parts)
        if "test" in pairs:
            return self._read(pairs["test"])
        found = self._read(pairs["train"])
        chosen = partition(found.labels, self._taken(), len(self.class_names))["test"]
        return LabelledImages(found.images[chosen], found.labels[chosen])

    def _taken(self) -> dict[Part, float]:
        return dict(zip(("validation", "test"), self.shares, strict=True))

    def _read(self, pair: Pair) -> LabelledImages:
        images: NDArray[np.generic] = pair.images.read()
        labels = _labels(pair.labels, len(self.class_names))
        return LabelledImages(images.reshape(len(images), *self.image_shape).astype(np.uint8, copy=False), labels)

    def _unchanged(self) -> None:
        """Hours may lie between finding the files and the finals."""
        paths = _paths(self.parts)
        for path, (_, known) in zip(paths, self.md5, strict=True):
            if (found := _md5(path)) != known:
                raise DataError(f"{path} changed while the study ran: its MD5 was {known}, now {found}")


def find(section: DataSection, data_dir: Path | None = None) -> ImageSet:
    """Finds the files that a sweep names, reads their headers and labels, and plans the split.

    Args:
        section: With ``train`` set; its paths are absolute, or relative to the working folder.
        data_dir: Where to look, by its bare name, for a file that is not at its path.

    Raises:
        DataError: A file is missing, damaged, or does not fit the others or the section.
    """
    parts = tuple(_parts(section, data_dir))
    _apart(parts)
    pairs = dict(parts)
    shape = _shape(pairs["train"], section)
    for part in pairs:
        _fitting(pairs[part], pairs["train"], shape)
    names = _class_names(pairs["train"], section)
    labels = {part: _labels(pair.labels, len(names)) for part, pair in parts}
    for part, pair in parts:
        _as_many(pair, len(labels[part]))
    shares = (
        0.0 if "validation" in pairs else section.validation_share,
        0.0 if "test" in pairs else section.test_share,
    )
    split = partition(labels["train"], {"validation": shares[0], "test": shares[1]}, len(names))
    _enough(pairs["train"], labels["train"], split, shares, names)
    if "test" in pairs:
        pairs["test"].images.read()  # or damage would show when all has been trained; the others are read before that
    return ImageSet(
        name=section.called,
        about=section.about,
        folder=pairs["train"].images.path.parent,
        md5=tuple(zip(_names(_paths(parts)), map(_md5, _paths(parts)), strict=True)),
        image_shape=shape,
        class_names=names,
        train_limit=len(split["train"]),
        validation_count=len(labels.get("validation", split["validation"])),
        test_count=len(labels.get("test", split["test"])),
        shares=shares,
        parts=parts,
    )


def _parts(section: DataSection, data_dir: Path | None) -> Iterator[tuple[Part, Pair]]:
    """The pairs that have arrays of their own."""
    named: dict[Part, list[str] | None] = {
        "train": section.train,
        "validation": section.validation,
        "test": section.test,
    }
    assert section.train is not None
    declared: dict[Path, str] = {}
    for part, files in named.items():
        paths = [_found(Path(file), data_dir) for file in files or section.train]
        for file, path in zip(files or section.train, paths, strict=True):
            if path != Path(file) and declared.get(path, file) != file:
                raise DataError(
                    f"{declared[path]} and {file} are both {path} with --data-dir {data_dir}; valid: a folder whose "
                    "files have names of their own, or the sweep's own places"
                )
            declared.setdefault(path, file)
        if len(paths) == 2 and files:
            yield part, Pair(Array(paths[0]), Array(paths[1]))
        elif len(paths) == 1 and (pair := _in_npz(paths[0], part, alone=bool(files))):
            yield part, pair


def _apart(parts: Sequence[tuple[Part, Pair]]) -> None:
    """No part may have another one's images: a search that sees the test images finds nothing out."""
    owners: dict[tuple[Path, str], Part] = {}
    for part, pair in parts:
        owner = owners.setdefault((pair.images.path.resolve(), pair.images.name), part)
        if owner != part:
            raise DataError(f"{pair.images} is named for {owner} and for {part}; valid: images of its own for each")


def _found(path: Path, data_dir: Path | None) -> Path:
    if path.is_file():
        return path
    other = data_dir / path.name if data_dir else None
    if other is None or not other.is_file():
        places = str(path) if other is None else f"{path} and {other}"
        raise DataError(f"{places}: no such file; name the folder that it is in with --data-dir DIR")
    return other


def _in_npz(path: Path, part: Part, *, alone: bool) -> Pair | None:
    """The arrays of a part; ``alone``: the file was named for this part, so there must be some."""
    held = outlines_npz(path)
    short = _SHORT[part]
    known = [(f"{short}_images", f"{short}_labels"), (f"x_{short}", f"y_{short}")]
    known += [("images", "labels")] if alone else []
    for images, labels in known:
        if images in held and labels in held:
            return Pair(Array(path, images), Array(path, labels))
    if not alone:
        return None
    valid = ", or ".join(f"{images} and {labels}" for images, labels in known)
    raise DataError(f"{path} holds the arrays {', '.join(held) or 'none'}; valid: {valid}")


def _shape(pair: Pair, section: DataSection) -> tuple[int, int, int]:
    size = pair.images.outline().shape
    if len(size) not in (3, 4) or (len(size) == 4 and size[3] not in _CHANNELS):
        raise DataError(
            f"{pair.images} has the dimensions {size}; valid: (images, height, width), or with 1 or 3 channels as the "
            "fourth"
        )
    shape = (size[1], size[2], size[3] if len(size) == 4 else 1)
    if section.shape is not None and shape != tuple(section.shape):
        raise DataError(f"{pair.images} holds images of {_by(shape)}; the sweep file says {_by(section.shape)}")
    return shape


def _fitting(pair: Pair, train: Pair, shape: tuple[int, int, int]) -> None:
    size, dtype = pair.images.outline()
    if dtype != "uint8":
        raise DataError(f"{pair.images} is of type {dtype}; valid: uint8, raw pixels from 0 to 255")
    if size[1:] not in (shape, shape[:2] if shape[2] == 1 else shape):
        raise DataError(
            f"{pair.images} has the dimensions {size}; expected images of {_by(shape)} as in {train.images}"
        )
    if not size[0]:
        raise DataError(f"{pair.images} holds no image")


def _class_names(pair: Pair, section: DataSection) -> tuple[str, ...]:
    if section.class_names is not None:
        return tuple(section.class_names)
    highest = int(_labels(pair.labels, _MAX_CLASSES).max(initial=0))
    if highest < 1:
        raise DataError(f"{pair.labels} holds one label alone; valid: two classes or more, counted from 0")
    return tuple(str(label) for label in range(highest + 1))


def _labels(array: Array, classes: int) -> Bytes:
    found = array.read()
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or found.dtype.kind not in "ui":
        raise DataError(f"{array} is {_by(found.shape)} of {found.dtype}; valid: one whole number for each image")
    numbers = found.astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise DataError(f"{array} holds the label {wrong}; valid: 0 to {classes - 1}")
    return numbers.astype(np.uint8)


def _as_many(pair: Pair, labels: int) -> None:
    images = pair.images.outline().shape[0]
    if images != labels:
        raise DataError(f"{pair.images} holds {images} images, {pair.labels} {labels} labels; valid: as many of both")


def partition(labels: Bytes, taken: dict[Part, float], classes: int) -> dict[Part, Indices]:
    """Indices of each part of the training file: of every class the same share, drawn once and for all."""
    # RandomState's numbers are promised never to change, unlike those of the newer generators.
    order = np.random.RandomState(0).permutation(len(labels))
    part_of = np.zeros(len(labels), dtype=np.uint8)
    for label in range(classes):
        members = order[labels[order] == label]
        held, checked = (round(taken[part] * len(members)) for part in ("test", "validation"))
        part_of[members[:held]] = 2
        part_of[members[held : held + checked]] = 1
    parts: tuple[Part, ...] = ("train", "validation", "test")
    return {part: order[part_of[order] == place] for place, part in enumerate(parts)}


def _enough(
    pair: Pair, labels: Bytes, split: dict[Part, Indices], shares: tuple[float, float], names: tuple[str, ...]
) -> None:
    counts = np.bincount(labels[split["train"]], minlength=len(names))
    if not counts.all():
        label = int(counts.argmin())
        raise DataError(
            f"{pair.labels} leaves no image of the label {label} ({names[label]}) to train on; valid: some of every "
            "class, counted from 0"
        )
    parts: tuple[Part, Part] = ("validation", "test")
    for part, share in zip(parts, shares, strict=True):
        if share and not len(split[part]):
            raise DataError(
                f"{part}_share is {share}, which is no image of the {len(labels)} in {pair.images}; "
                "valid: a larger share"
            )


def _paths(parts: Sequence[tuple[Part, Pair]]) -> list[Path]:
    """Every file once."""
    return list(dict.fromkeys(array.path for _, pair in parts for array in pair))


def _names(paths: Sequence[Path]) -> list[str]:
    """Names that tell the files apart: their own, as they may move; where two are called alike, with their folders."""
    own = [path.name for path in paths]
    return own if len(set(own)) == len(own) else list(_relative(paths))


def _relative(paths: Sequence[Path]) -> Iterator[str]:
    """Paths without the folders that all are in."""
    parents = [path.resolve().parent for path in paths]
    common = next(
        folder for folder in (parents[0], *parents[0].parents) if all(p.is_relative_to(folder) for p in parents)
    )
    return (path.resolve().relative_to(common).as_posix() for path in paths)


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
