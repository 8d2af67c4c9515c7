"""The data set: found, checked, split. A tiny set with its own sums stands in for the real one."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import data
from fmnist_sweep.data import Catalogue
from fmnist_sweep.errors import DataError, UsageError
from fmnist_sweep.fetch import FileFacts, Version
from tests.image_files import NOWHERE, fill, look, one_line

pytestmark = pytest.mark.usefixtures("own_network")


# Places, in order


def test_a_named_folder_is_the_only_place(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    fill(tmp_path / "cache")
    assert data.find(origin, catalogue=tiny).origin == "--data-dir"
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError) as caught:
            data.find(folder, cache=tmp_path / "cache", system=origin, catalogue=tiny)
        assert str(folder / "train-images-idx3-ubyte.gz") in one_line(caught)
        assert "missing" in one_line(caught)


def test_system_goes_before_cache_and_an_incomplete_system_is_skipped(tmp_path: Path, tiny: Catalogue) -> None:
    fill(tmp_path / "cache")
    assert look(tmp_path, tiny).origin == "cache"
    fill(tmp_path / "system")
    source = look(tmp_path, tiny)
    assert (source.origin, source.folder) == ("Debian's package", tmp_path / "system")
    (tmp_path / "system" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert look(tmp_path, tiny).origin == "cache"


def test_the_cache_is_xdg_cache_home_else_the_home_folder(
    tmp_path: Path, tiny: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "xdg" / "fmnist_sweep")
    assert data.find(None, system=tmp_path / "none", catalogue=tiny).folder == tmp_path / "xdg" / "fmnist_sweep"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fill(tmp_path / "home" / ".cache" / "fmnist_sweep")
    source = data.find(None, system=tmp_path / "none", catalogue=tiny)
    assert source.folder == tmp_path / "home" / ".cache" / "fmnist_sweep"


def test_every_packing_has_the_same_fingerprint(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    name = tiny.train_labels.name
    again = gzip.compress(gzip.decompress((origin / name).read_bytes()), compresslevel=1, mtime=1)
    fill(tmp_path / "other")
    (tmp_path / "other" / name).write_bytes(again)
    both = (*tiny.train_labels.versions, Version(hashlib.md5(again).hexdigest(), len(again)))
    wider = replace(tiny, train_labels=FileFacts(name, both))
    first, second = data.find(origin, catalogue=wider), data.find(tmp_path / "other", catalogue=wider)
    assert first.md5 != second.md5
    assert first.fingerprint == second.fingerprint
    assert pickle.loads(pickle.dumps(first)) == first


# Damage


@pytest.mark.parametrize("place", ["--data-dir", "system", "cache"])
@pytest.mark.parametrize("how", ["altered", "truncated"])
def test_damage_is_named_with_both_sums(tmp_path: Path, tiny: Catalogue, place: str, how: str) -> None:
    folder = tmp_path / place
    fill(folder)
    path = folder / tiny.test_images.name
    whole = path.read_bytes()
    path.write_bytes(whole[:100] if how == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))
    data_dir = folder if place == "--data-dir" else None
    with pytest.raises(DataError) as caught:
        data.find(
            data_dir, cache=tmp_path / "cache", system=tmp_path / "system", fetch=False, catalogue=tiny, plan=NOWHERE
        )
    text = one_line(caught)
    assert str(path) in text
    assert tiny.test_images.md5 in text
    assert hashlib.md5(path.read_bytes()).hexdigest() in text
    assert ("truncated (100 of" in text) if how == "truncated" else ("altered" in text)
    assert "--data-dir" in text


def test_nothing_anywhere_and_fetching_off(tmp_path: Path, tiny: Catalogue) -> None:
    with pytest.raises(DataError, match=r"fetching is off.*FMNIST_DATA_DIR"):
        look(tmp_path, tiny, fetch=False)


# Preparing and splitting


def test_the_split_is_that_of_keras(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    prepared = data.prepare(data.find(origin, catalogue=tiny), tmp_path / "store")
    split = pickle.loads(pickle.dumps(prepared)).load()
    images = data.read_idx(origin / tiny.train_images.name)[..., None]
    labels = data.read_idx(origin / tiny.train_labels.name)
    assert (prepared.image_shape, prepared.classes, prepared.train_images) == ((6, 5, 1), 3, 40)
    assert np.array_equal(split.train_images, images[:40])
    assert np.array_equal(split.train_labels, labels[:40])
    assert np.array_equal(split.validation_images, images[40:])
    assert np.array_equal(split.validation_labels, labels[40:])
    assert isinstance(split.train_images, np.memmap)
    split.train_images[:] = 0  # reaches neither the file nor anybody else
    assert np.array_equal(prepared.load().train_images, images[:40])
    assert data.prepare(data.find(origin, catalogue=tiny), tmp_path / "store") == prepared


def test_fewer_training_images_leave_validation_alone(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    whole, few = (data.prepare(source, tmp_path / "store", train_images=count).load() for count in (None, 7))
    assert len(few.train_images) == len(few.train_labels) == 7
    assert np.array_equal(few.validation_images, whole.validation_images)
    assert len(list((tmp_path / "store").iterdir())) == 3


@pytest.mark.parametrize("count", [0, -1, 41, True, 1.5])
def test_a_number_of_training_images_out_of_range(tmp_path: Path, origin: Path, tiny: Catalogue, count: int) -> None:
    with pytest.raises(UsageError, match=r"--train-images is .*from 1 to 40"):
        data.prepare(data.find(origin, catalogue=tiny), tmp_path / "store", train_images=count)


@pytest.mark.parametrize("which", ["images", "labels", "json"])
@pytest.mark.parametrize("how", ["altered", "empty", "gone"])
def test_prepare_mends_what_was_damaged(tmp_path: Path, origin: Path, tiny: Catalogue, which: str, how: str) -> None:
    source = data.find(origin, catalogue=tiny)
    store = tmp_path / "store"
    data.prepare(source, store)
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    assert all(source.fingerprint in name for name in before)
    path = next(path for path in store.iterdir() if which in path.name)
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else content[:-3] + b"\x01\x02\x7f")
    data.prepare(source, store).load()
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_prepare_leaves_good_files_alone(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    data.prepare(source, tmp_path / "store")
    before = {path: path.stat().st_ino for path in (tmp_path / "store").iterdir()}
    data.prepare(source, tmp_path / "store")
    assert {path: path.stat().st_ino for path in (tmp_path / "store").iterdir()} == before


def test_a_store_that_is_lost_or_in_the_way(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    prepared = data.prepare(source, tmp_path / "store")
    prepared.labels.unlink()
    with pytest.raises(DataError, match="train-labels"):
        prepared.load()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="can't keep the unpacked images"):
        data.prepare(source, tmp_path / "file")


def test_labels_and_dimensions_must_fit(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    wrong = fill(tmp_path / "wrong", labels_below=4)
    with pytest.raises(DataError, match="holds the label 3; valid: 0 to 2"):
        data.prepare(data.find(tmp_path / "wrong", catalogue=wrong), tmp_path / "store")
    for change in ({"train_count": 49}, {"image_shape": (5, 6, 1)}):
        source = replace(data.find(origin, catalogue=tiny), catalogue=replace(tiny, **change))
        with pytest.raises(DataError, match="has the dimensions"):
            data.prepare(source, tmp_path / "store")


def test_files_that_change_after_find_are_noticed(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    fill(origin, seed=1)
    with pytest.raises(DataError, match="train-images"):
        data.prepare(source, tmp_path / "store")
    with pytest.raises(DataError, match="t10k-images"):
        data.open_test_set(source)


# The test set


def test_the_test_set_has_one_door(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    test = data.open_test_set(source)
    assert test.images.shape == (10, 6, 5, 1)
    assert test.labels.shape == (10,)
    prepared = data.prepare(source, tmp_path / "store")
    assert not [name for name in dir(prepared) if "test" in name.lower()]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert all(image.tobytes() not in stored for image in test.images)


def test_importing_is_light() -> None:
    code = "import sys, fmnist_sweep.data; print(*(m for m in ('requests', 'tensorflow', 'keras') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


@pytest.mark.slow
def test_the_real_data_set(tmp_path: Path) -> None:
    source = data.find(None, cache=tmp_path / "cache")
    assert source.fingerprint == "c60e6401d1d3c52e"
    split = data.prepare(source, tmp_path / "store").load()
    assert split.train_images.shape == (48_000, 28, 28, 1)
    assert split.validation_images.shape == (12_000, 28, 28, 1)
    assert set(np.unique(split.validation_labels)) == set(range(10))
    test = data.open_test_set(source)
    assert test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(test.labels).tolist() == [1000] * 10
