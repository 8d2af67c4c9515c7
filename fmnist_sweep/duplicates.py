"""Test images that the training file holds as well: the same bytes, or the same picture a little changed.

That Fashion-MNIST has some is known (Geier, Training on test data: Removing near duplicates in Fashion-MNIST, arXiv
1906.08255). They are found in three steps:

1. Exact copies: a digest of the bytes.
2. A shortlist by a perceptual hash: 128 bits, each saying whether a cell of a coarse picture is brighter than the
   cell to its left (64 bits) or above it (64 bits). Brightness, contrast and small shifts leave most bits as they
   are. The shortlist of a test image is the ``SHORTLIST`` training images whose hashes differ in the fewest bits, and
   any that are as near.
3. Near copies: the training image with the highest correlation r of pixels, if its hash is within ``MAX_BITS`` and
   1 - r is at most ``MAX_RATIO`` of that of the tenth after it. Correlation alone can't tell: plain trousers share
   their outline, so 682 test images have a training image with r above 0.98, few of them copies. A copy stands out
   among its own kind. (An article with more than ten near copies would be missed; exact ones never are.)

In Fashion-MNIST, its 10,000 test images beside the other 60,000: no exact copy, and 80 near ones, all with the copy's
label. Seen side by side, about 74 of them show the same article, some in another colour, and six differ in a print or
a detail. A ratio of 0.25 would add 51, a third of them doubtful. All 53 that a comparison of all 600 million pairs by
correlation finds at the same ratio are among the 80; the tenth of a shortlist is a little farther than the true tenth,
so it finds more. It takes 3 seconds of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

SHORTLIST = 128
MAX_BITS = 20
MIN_CORRELATION = 0.95
MAX_RATIO = 0.2
_RANK = 10  # the neighbour that a copy must be much nearer than
_GRID = 8
_AT_ONCE = 4_096  # images that are floats at a time, so that a set that fits the memory once does
_ROUNDING = 1e-3  # grey levels; whole greys differ by more in the mean of a cell, unless they are equal
METHOD = (
    f"a difference hash within {MAX_BITS} of {2 * _GRID**2} bits, a pixel correlation r of {MIN_CORRELATION} or more, "
    f"and 1 - r at most {MAX_RATIO} of that of the tenth training image after it"
)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Which test images have a copy among the training images.

    Attributes:
        test: Their indices, ascending, exact and near ones together.
        exact: How many are equal to the last byte.
        near: How many are not, but nearly.
        distance: Up to which 1 - r counts as near, as a share of that of the tenth image after it.
        method: How near ones are told, in words.
    """

    test: tuple[int, ...]
    exact: int
    near: int
    distance: float = MAX_RATIO
    method: str = METHOD


def find(train: Images, test: Images) -> Duplicates:
    """Compares each test image with all training images.

    Args:
        train: Shape (images, height, width, channels), validation included.
        test: Shape (others, height, width, channels).
    """
    exact = exact_copies(train, test)
    near = near_copies(train, test) - exact
    return Duplicates(tuple(sorted(exact | near)), len(exact), len(near))


def exact_copies(train: Images, test: Images) -> set[int]:
    """Indices of the test images that are in ``train``, byte for byte."""
    known = set(_digests(train))
    return {place for place, digest in enumerate(_digests(test)) if digest in known}


def _digests(images: Images) -> Iterable[bytes]:
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)


def near_copies(train: Images, test: Images) -> set[int]:
    """Indices of the test images that have a near copy in ``train``; see the module."""
    ours, theirs = (
        np.concatenate([difference_hash(images[start : start + _AT_ONCE]) for start in range(0, len(images), _AT_ONCE)])
        for images in (test, train)
    )
    left, above = (np.ascontiguousarray(column) for column in theirs.T)
    found = set()
    for place, bits in enumerate(ours):
        apart = np.bitwise_count(left ^ bits[0]) + np.bitwise_count(above ^ bits[1])  # uint8 (training images,)
        near = _nearest(apart)
        (image,) = standardised(test[place : place + 1])
        if stands_out(standardised(train[near]) @ image, apart[near]):
            found.add(place)
    return found


def _nearest(apart: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Indices of all within the smallest distance that holds ``SHORTLIST``, or of all where there are fewer."""
    radius = int(np.searchsorted(np.cumsum(np.bincount(apart)), min(SHORTLIST, len(apart))))
    return np.flatnonzero(apart <= radius)


def stands_out(correlations: NDArray[np.float32], apart: NDArray[np.uint8]) -> bool:
    """Whether the best match is a near copy, beside the other matches of the same image.

    Args:
        correlations: Of pixels, shape (matches,).
        apart: Bits in which the hashes differ, shape (matches,).
    """
    close = correlations[apart <= MAX_BITS]
    if len(correlations) <= _RANK or len(close) == 0 or close.max() < MIN_CORRELATION:
        return False
    usual = np.partition(correlations, -1 - _RANK)[-1 - _RANK]
    return bool(1 - close.max() <= MAX_RATIO * (1 - usual))


def difference_hash(images: Images) -> NDArray[np.uint64]:
    """128 bits of each image, shape (images, 2): brighter than the cell to the left, brighter than the cell above."""
    grey = images.mean(axis=-1, dtype=np.float32)  # (images, height, width)
    across, down = _cells(grey, _GRID, _GRID + 1), _cells(grey, _GRID + 1, _GRID)
    brighter = [np.diff(across, axis=2) > _ROUNDING, np.diff(down, axis=1) > _ROUNDING]
    bits = np.stack(brighter, axis=1)  # (images, 2, 8, 8)
    return np.packbits(bits.reshape(len(images), 2, -1), axis=2).view(np.uint64)[:, :, 0]


def _cells(grey: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Means over a grid of about equal cells, shape (images, rows, columns)."""
    for cells in (rows, columns):
        size = grey.shape[1]
        starts = np.arange(cells) * size // cells
        widths = np.maximum(np.diff(starts, append=size), 1).astype(np.float32)
        grey = np.add.reduceat(grey, starts, axis=1) / widths[:, None]
        grey = grey.transpose(0, 2, 1)  # the other side's turn, and at last back
    return grey


def standardised(images: Images) -> NDArray[np.float32]:
    """Pixels of mean 0 and length 1, shape (images, pixels): a product is a correlation. 0 where all are equal."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 0, length, 1)
    return flat
