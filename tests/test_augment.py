"""Flips and shifts: each image by its own draw, nothing lost, nothing left to chance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def augmented(
    images: NDArray[np.float32], seed: int, *, flip: bool = False, shift: int = 0, cutout: int = 0
) -> NDArray[np.float32]:
    import tensorflow as tf

    from fmnist_sweep.augment import augmented as ours

    draw = tf.constant([7, seed], tf.int64)
    return np.asarray(ours(tf.constant(images), draw, flip=flip, shift=shift, cutout=cutout))


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(1, 255, (64, 12, 10, 1)).astype(np.float32)


def test_flips_about_half_of_the_images_and_only_mirrors_them(images: NDArray[np.float32]) -> None:
    found = augmented(images, 1, flip=True)
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(found, images, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_shifts_each_image_by_its_own_amount(images: NDArray[np.float32]) -> None:
    found = augmented(images, 2, shift=2)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    amounts = set()
    for new, old in zip(found, padded, strict=True):
        fitting = [(y, x) for y in range(5) for x in range(5) if np.array_equal(new, old[y : y + 12, x : x + 10])]
        assert len(fitting) == 1
        amounts.add(fitting[0])
    assert len(amounts) > 10


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cuts_a_square_out_of_each_image_at_its_own_place(images: NDArray[np.float32], side: int) -> None:
    found = augmented(images, 2, cutout=side)
    corners, sizes = set(), set()
    for new, old in zip(found, images, strict=True):
        rows, columns = np.nonzero((new != old)[..., 0])
        box = new[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not box.any()
        assert len(rows) == box.size
        corners.add((rows.min(), columns.min()))
        sizes.add(box.shape[:2])
    assert len(corners) > 20
    assert (side, side) in sizes
    assert max(max(size) for size in sizes) == side
    assert side == 1 or min(min(size) for size in sizes) < side  # over the border


def test_is_a_pure_function_of_the_draw(images: NDArray[np.float32]) -> None:
    once, again, other = (augmented(images, seed, flip=True, shift=1, cutout=3) for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_nothing_asked_changes_nothing(images: NDArray[np.float32]) -> None:
    assert np.array_equal(augmented(images, 5), images)
