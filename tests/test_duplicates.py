"""Copies of training images among the test images: found where they are, and not where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep import data as datasets
from fmnist_sweep import duplicates
from fmnist_sweep.data import DataSource
from fmnist_sweep.duplicates import Images
from tests.strategies import CALM

SIDE = 28


def pictures(count: int, seed: int, channels: int = 1, side: int = SIDE) -> Images:
    """Soft shapes, no two alike, from 20 to 180, so that there is room for more and less light."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(size=(count, 6, 6, channels))
    at = np.linspace(0, 4.999, side)
    low, part = at.astype(int), (at % 1)
    rows = coarse[:, low] * (1 - part)[:, None, None] + coarse[:, low + 1] * part[:, None, None]
    fine = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, low + 1] * part[:, None]
    return (20 + 160 * fine).astype(np.uint8)


def test_no_more_than_a_share_of_the_images_are_floats_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float copies of all would take eight times the memory of a set, which may be gigabytes."""
    monkeypatch.setattr(duplicates, "_AT_ONCE", 100)
    made, hashed, inner, hashing = list[int](), list[int](), duplicates.standardised, duplicates.difference_hash

    def standardised(images: Images) -> Any:
        made.append(len(images))
        return inner(images)

    def difference_hash(images: Images) -> Any:
        hashed.append(len(images))
        return hashing(images)

    train, test = pictures(1_000, seed=0), pictures(20, seed=1)
    test[3] = train[999] + 1
    monkeypatch.setattr(duplicates, "standardised", standardised)
    monkeypatch.setattr(duplicates, "difference_hash", difference_hash)
    assert duplicates.find(train, test).test == (3,)
    assert max(made) < 500
    assert max(hashed) == 100


def test_copies_are_told_by_their_kind() -> None:
    train, test = pictures(300, seed=0), pictures(40, seed=1)
    test[3], test[7] = train[10], train[20]
    test[11] = (0.8 * train[30].astype(float) + 30).astype(np.uint8)  # paler
    test[13] = np.clip(train[40] + np.random.default_rng(2).normal(0, 2, train[40].shape), 0, 255).astype(np.uint8)
    found = duplicates.find(train, test)
    assert (found.test, found.exact, found.near) == ((3, 7, 11, 13), 2, 2)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (9, 1), (8, 1)])
def test_pictures_of_one_kind_are_no_copies(side: int, channels: int) -> None:
    train, test = (pictures(count, seed, channels, side) for count, seed in ((300, 3), (60, 4)))
    assert duplicates.find(train, test).test == ()
    test[5] = train[8]
    assert duplicates.find(train, test).test == (5,)


def test_few_training_images_leave_no_neighbourhood_to_stand_out_from() -> None:
    train = pictures(5, seed=5)
    test = np.concatenate([train[:1], train[1:2] // 2 + 40])
    assert duplicates.find(train, test) == duplicates.Duplicates((0,), exact=1, near=0)


@settings(CALM, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 70), st.sampled_from([0.5, 1.0]))
def test_more_light_changes_no_bit(seed: int, light: int, contrast: float) -> None:
    dim = pictures(4, seed) // 2 * 2
    bright = (contrast * dim + light).astype(np.uint8)
    assert np.array_equal(duplicates.difference_hash(dim), duplicates.difference_hash(bright))


def test_the_bits_say_where_it_gets_brighter() -> None:
    ramp = np.broadcast_to(np.arange(0, 252, 9, dtype=np.uint8), (SIDE, SIDE))
    across, down = duplicates.difference_hash(np.stack([ramp, ramp.T])[..., None])
    full = np.uint64(2**64 - 1)
    assert (across.tolist(), down.tolist()) == ([full, 0], [0, full])


@settings(CALM, max_examples=20)
@given(st.integers(0, 1000))
def test_a_product_of_standardised_images_is_their_correlation(seed: int) -> None:
    images = pictures(3, seed)
    flat = images.reshape(3, -1)
    one, other, third = duplicates.standardised(images)
    assert one @ one == pytest.approx(1.0, abs=1e-5)
    assert other @ third == pytest.approx(np.corrcoef(flat[1], flat[2])[0, 1], abs=1e-5)


def test_an_image_of_one_grey_has_no_correlation() -> None:
    assert not duplicates.standardised(np.full((2, 8, 8, 1), 7, np.uint8)).any()


@pytest.mark.parametrize(
    ("best", "bits", "usual", "expected"),
    [
        (0.99, 0, 0.9, True),
        (0.99, duplicates.MAX_BITS, 0.95, True),
        (0.99, duplicates.MAX_BITS + 1, 0.9, False),  # the hashes differ too much
        (0.94, 0, 0.1, False),  # the pixels differ too much
        (0.99, 0, 0.96, False),  # no nearer than others of its kind
    ],
)
def test_a_copy_is_near_in_bits_in_pixels_and_beside_others(
    best: float, bits: int, usual: float, expected: bool
) -> None:
    correlations = np.array([best] + [usual] * 10 + [0.0], np.float32)
    apart = np.array([bits] + [30] * 11, np.uint8)
    assert duplicates.stands_out(correlations, apart) is expected
    assert not duplicates.stands_out(correlations[:10], apart[:10])


def test_the_data_sets_own_copies_are_found(source: DataSource, tmp_path: Path) -> None:
    train = np.load(datasets.prepare(source, tmp_path).images, mmap_mode="r")
    test = datasets.open_test_set(source).images
    well_known = [436, 534, 2605, 4222, 4998, 5732, 6210, 7799, 9867]  # the same photograph, as anyone can see
    alike = [792, 1428, 3137, 5453]  # trousers, shirts and bags that are like many others
    found = duplicates.find(train, test[well_known + alike])
    assert found.exact == 0
    assert found.test == tuple(range(len(well_known)))
