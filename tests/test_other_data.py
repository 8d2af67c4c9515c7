"""Image sets that a sweep file names: found, checked, split, and carried through every command."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fmnist_sweep import config, data, lab
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.data import DataSource, imageset
from fmnist_sweep.errors import ConfigError, DataError, UsageError
from fmnist_sweep.schema import DataSection
from tests.conftest import Cli
from tests.image_files import SHAPES, idx, one_line, shapes

IMAGES, LABELS = shapes(90)


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """One file of 90 images, 30 of each class, sorted by class."""
    return write_npz(tmp_path / "shapes.npz", images=IMAGES, labels=LABELS)


def section(train: Path, *others: Path, **keys: Any) -> DataSection:
    return DataSection.model_validate({"train": [str(train), *map(str, others)], **keys})


def keys_of(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


# Forms


def test_a_plain_file_is_split_class_by_class(plain: Path, tmp_path: Path) -> None:
    found = imageset.find(section(plain, class_names=list(SHAPES), about="drawn", validation_share=0.1))
    assert (found.name, found.about, found.image_shape, found.class_names) == ("shapes", "drawn", (12, 10, 3), SHAPES)
    assert (found.train_limit, found.validation_count, found.test_count) == (63, 9, 18)
    split = data.prepare(found, tmp_path / "store").load()
    test = data.open_test_set(found)
    parts = [split.train_images, split.validation_images, test.images]
    assert keys_of(np.concatenate(parts)) == keys_of(IMAGES)
    counts = [np.bincount(labels).tolist() for labels in (split.train_labels, split.validation_labels, test.labels)]
    assert counts == [[21] * 3, [3] * 3, [6] * 3]
    known = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for images, labels in zip(parts, (split.train_labels, split.validation_labels, test.labels), strict=True):
        assert [known[image.tobytes()] for image in images] == list(labels)
    assert len(set(split.train_labels[:12])) == 3  # the first few are a fair sample of a sorted file


def test_the_split_is_the_same_every_time_and_the_test_images_stay_sealed(plain: Path, tmp_path: Path) -> None:
    first, second = (imageset.find(section(plain)) for _ in range(2))
    assert first == second == pickle.loads(pickle.dumps(first))
    assert np.array_equal(first.test().images, second.test().images)
    assert first.fingerprint != imageset.find(section(plain, test_share=0.3)).fingerprint
    data.prepare(first, tmp_path / "store")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert not [image for image in first.test().images if image.tobytes() in stored]


@pytest.mark.parametrize("style", ["{}_images {}_labels train val test", "x_{} y_{} train val test"])
def test_an_npz_file_may_hold_all_parts(tmp_path: Path, style: str) -> None:
    images, labels, *parts = style.split()
    arrays: dict[str, np.ndarray] = {}
    for part, count in zip(parts, (60, 9, 12), strict=True):
        pixels, classes = shapes(count, seed=count)
        arrays |= {images.format(part): pixels, labels.format(part): classes[:, None]}
    found = imageset.find(section(write_npz(tmp_path / "all.npz", **arrays)))
    assert (found.train_limit, found.validation_count, found.test_count) == (60, 9, 12)
    assert found.md5[0][0] == "all.npz"
    split = data.prepare(found, tmp_path / "store").load()
    assert np.array_equal(split.validation_images, shapes(9, seed=9)[0])
    assert np.array_equal(data.open_test_set(found).images, shapes(12, seed=12)[0])


@pytest.mark.parametrize("colour", [True, False])
def test_idx_pairs_packed_or_not(tmp_path: Path, colour: bool) -> None:
    pixels = IMAGES if colour else IMAGES[..., 0]
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "images").write_bytes(idx(pixels))
        (tmp_path / part / "labels.gz").write_bytes(gzip.compress(idx(LABELS)))
    pair = [str(tmp_path / "test" / name) for name in ("images", "labels.gz")]
    found = imageset.find(section(tmp_path / "train" / "images", tmp_path / "train" / "labels.gz", test=pair))
    assert found.image_shape == (12, 10, 3 if colour else 1)
    assert [name for name, _ in found.md5] == ["train/images", "train/labels.gz", "test/images", "test/labels.gz"]
    assert (found.train_limit, found.validation_count, found.test_count) == (72, 18, 90)
    assert found.test().images.shape == (90, *found.image_shape)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    held=st.floats(0.01, 0.5),
    checked=st.floats(0.01, 0.4),
)
def test_every_image_is_in_one_part_and_each_class_gives_its_share(
    counts: list[int], held: float, checked: float
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
    split = imageset.partition(labels, {"test": held, "validation": checked}, len(counts))
    assert sorted(np.concatenate(list(split.values()))) == list(range(len(labels)))
    for part, share in (("test", held), ("validation", checked)):
        taken = np.bincount(labels[split[part]], minlength=len(counts))  # type: ignore[index]
        assert (abs(taken - share * np.array(counts)) <= 0.5).all()


# Mistakes


@pytest.mark.parametrize("file", ["fashion-mnist.npz", "Fashion-MNIST.v2.npz"])
def test_a_set_of_ones_own_may_not_pass_for_the_built_in_one(tmp_path: Path, file: str) -> None:
    with pytest.raises(ValidationError, match=r"without a name it is that of train.*is built in; valid: another name"):
        section(tmp_path / file)


def bad_files(folder: Path) -> dict[str, Callable[[], DataSection]]:
    """By what is wrong, a section that says so."""
    images, labels = folder / "images", folder / "labels"
    images.write_bytes(idx(IMAGES))
    labels.write_bytes(idx(LABELS))

    def raw(content: bytes) -> Path:
        path = folder / "broken"
        path.write_bytes(content)
        return path

    def held(**arrays: np.ndarray) -> DataSection:
        return section(write_npz(folder / "x.npz", **arrays))

    return {
        "broken is no good IDX file: it starts with 504b0304; valid: 00000801": lambda: section(
            raw(b"PK\x03\x04"), labels
        ),
        "broken is no good IDX file: its header names 90x12x10x3 = 32400 bytes, it holds only 32399": lambda: section(
            raw(idx(IMAGES)[:-1]), labels
        ),
        "labels holds the label 2; valid: 0 to 1": lambda: section(images, labels, class_names=["a", "b"]),
        "leaves no image of the label 3 (d) to train on": lambda: section(images, labels, class_names=list("abcd")),
        "images holds 90 images, ": lambda: section(images, raw(idx(LABELS[:-1]))),
        "valid: one whole number for each image": lambda: section(images, images),
        "holds one label alone": lambda: section(images, raw(idx(LABELS * 0))),
        "holds images of 12x10x3; the sweep file says 10x12x3": lambda: section(images, labels, shape=[10, 12, 3]),
        "x.npz[images] is of type float64; valid: uint8": lambda: held(images=IMAGES / 255, labels=LABELS),
        "x.npz[labels] holds the label -1; valid: 0 to 255": lambda: held(images=IMAGES, labels=LABELS - 1),
        "x.npz[labels] is 90 of float64; valid: one whole": lambda: held(images=IMAGES, labels=LABELS / 1),
        "x.npz holds the arrays pixels, labels; valid: train_images and train_labels, or x_train and": lambda: held(
            pixels=IMAGES, labels=LABELS
        ),
        "has the dimensions (90, 12, 10, 2); valid: (images, height, width)": lambda: held(
            images=IMAGES[..., :2], labels=LABELS
        ),
        "x.npz[test_images] has the dimensions (90, 11, 10, 3); expected images of 12x10x3": lambda: held(
            train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:, 1:], test_labels=LABELS
        ),
        "x.npz[val_images] holds no image": lambda: held(
            train_images=IMAGES, train_labels=LABELS, val_images=IMAGES[:0], val_labels=LABELS[:0]
        ),
        "validation_share is 0.01, which is no image of the 90": lambda: section(images, labels, validation_share=0.01),
        "nowhere.npz: no such file; name the folder that it is in with --data-dir": lambda: section(
            folder / "nowhere.npz"
        ),
    }


@pytest.mark.parametrize("place", range(17))
def test_what_does_not_fit_is_named(tmp_path: Path, place: int) -> None:
    words, make = list(bad_files(tmp_path).items())[place]
    with pytest.raises(DataError) as caught:
        imageset.find(make()).training()
    assert words in one_line(caught)
    assert str(tmp_path) in str(caught.value)


def test_no_mistake_is_left_out(tmp_path: Path) -> None:
    assert len(bad_files(tmp_path)) == 17


def test_truncated_pixels_are_named_where_they_are_read(tmp_path: Path) -> None:
    """Headers and labels are sound, and the sum is taken of the file as it is."""
    for name, array in (("images", IMAGES), ("labels", LABELS)):
        (tmp_path / name).write_bytes(gzip.compress(idx(array)))
    (tmp_path / "images").write_bytes((tmp_path / "images").read_bytes()[:-9])
    found = imageset.find(section(tmp_path / "images", tmp_path / "labels"))
    with pytest.raises(DataError, match=r"images is no good IDX file: .*end-of-stream"):
        data.prepare(found, tmp_path / "store")


def test_damage_of_the_test_images_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    for name, array in (("images", IMAGES), ("labels", LABELS)):
        for part in ("", "test-"):
            (tmp_path / f"{part}{name}").write_bytes(gzip.compress(idx(array)))
    (tmp_path / "test-images").write_bytes((tmp_path / "test-images").read_bytes()[:-9])
    test = [str(tmp_path / "test-images"), str(tmp_path / "test-labels")]
    with pytest.raises(DataError, match=r"test-images is no good IDX file"):
        imageset.find(section(tmp_path / "images", tmp_path / "labels", test=test))


def test_no_part_has_another_ones_images(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "link.npz").symlink_to(plain)
    for other in (plain, tmp_path / "link.npz"):
        with pytest.raises(DataError, match="is named for train and for validation; valid: images of its own for each"):
            imageset.find(section(plain, validation=[str(other)]))


def test_a_link_is_called_and_read_by_its_own_name(plain: Path, tmp_path: Path) -> None:
    """As in caches that keep files under their checksums."""
    (blob := tmp_path / "3fa9").write_bytes(plain.read_bytes())
    (tmp_path / "birds.npz").symlink_to(blob)
    moved = DataSection(train=["birds.npz"]).below(tmp_path)
    assert moved.train == [str(tmp_path / "birds.npz")]
    assert DataSection.model_validate(moved.model_dump(mode="json")) == moved
    assert imageset.find(moved).name == "birds"


def test_files_that_change_after_they_were_found_are_noticed(plain: Path) -> None:
    found = imageset.find(section(plain))
    write_npz(plain, images=IMAGES[::-1], labels=LABELS)
    for read in (found.training, found.test):
        with pytest.raises(DataError, match=r"shapes.npz changed while the study ran"):
            read()


SWEEP = """
title = "shapes"
study = { trials = 2, keep_models = 1, startup_trials = 2 }
fidelity = { pruner = "none" }
lab = { variants = ["lab-cnn1"] }

[data]
DATA

[space]
depth = { choices = [1, 2] }
filters = 16
dense_units = 32
learning_rate = 0.003
batch_size = 16
epochs = 10
"""
NAMED = 'train = "images/shapes.npz"\nclass_names = ["disc", "bar", "cross"]\nabout = "Drawn for a test."'


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('train = "a.idx"', "train is ['a.idx']; valid: one .npz file, or two IDX files, images and labels"),
        ('train = ["a.npz", "b.npz"]', "valid: one .npz file, or two IDX files"),
        ('train = "a\\u0000.npz"', "valid: one .npz file"),
        ("train = 3", "data.train is 3; input should be a valid list"),
        ('test = "a.npz"', "test: only with train, the files of another image set"),
        ("test_share = 0.3", "test_share: only with train"),
        ('train = "a.npz"\ntest_share = 0.9', "data.test_share is 0.9; input should be less than or equal to 0.5"),
        ('train = "a.npz"\nname = "Fashion-MNIST"', "which is built in; valid: another name"),
        ('train = "a.npz"\nclass_names = ["a", "a"]', "valid: each name once"),
        ('train = "a.npz"\nshape = [12, 10]', "data.shape"),
        ('train = "a.npz"\ntrian = 1', "data.trian: unknown key (did you mean 'train'?)"),
    ],
)
def test_mistakes_in_the_section_are_named(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(SWEEP.replace("DATA", keys), "shapes.toml")
    assert words in str(caught.value)


def test_paths_start_at_the_sweep_file_and_moved_files_are_found_in_the_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "mine" / "shapes.toml"
    write_npz(sweep.parent / "images" / "shapes.npz", images=IMAGES, labels=LABELS)
    sweep.write_text(SWEEP.replace("DATA", NAMED))
    monkeypatch.chdir(sweep.parent)
    found = config.load("./shapes.toml")[1].data
    monkeypatch.chdir("/")
    here = data.source_of(found, None)
    assert here.folder == sweep.parent / "images"
    assert data.facts_of(found) == ((12, 10, 3), 3, 54)
    (sweep.parent / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="--data-dir DIR"):
        data.source_of(found, None)
    assert data.source_of(found, tmp_path / "elsewhere").fingerprint == here.fingerprint


def test_files_of_two_folders_that_have_moved_into_one_are_the_same_images(tmp_path: Path) -> None:
    old, new = [tmp_path / "training" / "mine.npz", tmp_path / "tests" / "theirs.npz"], tmp_path / "all"
    for path in old:
        write_npz(path, images=IMAGES, labels=LABELS)
    named = section(old[0], test=[str(old[1])])
    before = imageset.find(named)
    new.mkdir()
    for path in old:
        path.rename(new / path.name)
    assert imageset.find(named, new).fingerprint == before.fingerprint


def test_one_file_does_not_stand_for_two_that_are_called_alike(plain: Path, tmp_path: Path) -> None:
    """The test set would be what the nets were trained on."""
    named = section(tmp_path / "train" / plain.name, test=[str(tmp_path / "tests" / plain.name)])
    with pytest.raises(DataError, match=r"train/shapes.npz and .*tests/shapes.npz are both .*; valid: a folder whose"):
        imageset.find(named, plain.parent)


def test_files_that_are_called_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / part / "images.npz" for part in ("training", "tests")]
    for path in paths:
        write_npz(path, images=IMAGES, labels=LABELS)
    found = imageset.find(section(paths[0], test=[str(paths[1])]))
    assert [name for name, _ in found.md5] == ["training/images.npz", "tests/images.npz"]


def test_the_labs_nets_are_built_for_the_images_or_left_out() -> None:
    nets = {it.name: it.arch for it in lab.variants(input_shape=(12, 10, 3), classes=3)}
    assert set(nets) == set(lab.NAMES)
    assert nets["lab-mlp"] == ArchSpec((12, 10, 3), 3, dense=(128,))
    assert [it.name for it in lab.variants(input_shape=(6, 6, 1), classes=3)] == ["lab-cnn1", "lab-mlp"]
    with pytest.raises(UsageError, match=r"lab-cnn3 can't be built: .*6x6.*leave it out of \[lab\] variants"):
        lab.variants(["lab-cnn3"], input_shape=(6, 6, 1), classes=3)


# The contract of a data set


@pytest.fixture
def named(plain: Path) -> DataSource:
    return imageset.find(section(plain))


@pytest.fixture(params=["named", "source"])
def any_set(request: pytest.FixtureRequest) -> DataSource:
    found: DataSource = request.getfixturevalue(request.param)
    return found


class TestDataSource:
    def test_it_holds_what_it_says(self, any_set: DataSource) -> None:
        training, test = any_set.training(), any_set.test()
        assert training.images.shape == (any_set.train_limit + any_set.validation_count, *any_set.image_shape)
        assert test.images.shape == (any_set.test_count, *any_set.image_shape)
        for part in (training, test):
            assert part.images.dtype == part.labels.dtype == np.uint8
            assert set(np.unique(part.labels)) == set(range(len(any_set.class_names)))

    def test_it_is_the_same_in_another_process(self, any_set: DataSource) -> None:
        again: DataSource = pickle.loads(pickle.dumps(any_set))
        assert again == any_set
        assert again.fingerprint == any_set.fingerprint
        assert np.array_equal(again.test().labels, any_set.test().labels)
        assert len(any_set.md5) == len(dict(any_set.md5)) >= 1


# Through every command

SMALL = (7, 6)  # too small for the lab's three convolutions, which are left out


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("other")
    pixels, labels = shapes(360, size=SMALL)
    write_npz(folder / "images" / "shapes.npz", images=pixels, labels=labels)
    (folder / "shapes.toml").write_text(SWEEP.replace("DATA", NAMED))
    cli = Cli(folder)
    return cli, cli.json("run", "--sweep", "shapes.toml", "--home", "home")


@pytest.mark.slow
def test_a_sweep_over_other_images_is_run_and_known_from_any_folder(study: tuple[Cli, dict[str, Any]]) -> None:
    cli, result = study
    assert result["trials"] == {"target": 2, "complete": 2, "pruned": 0, "failed": 0}
    assert result["train_images"] == 216
    (cli.folder / "apart").mkdir()
    apart = replace(cli, folder=cli.folder / "apart")
    assert apart.json("status", "--study", "shapes", "--home", "../home")["best"] == result["best"]
    seen = cli.json("data", "--sweep", "shapes.toml")
    assert seen["images"] == {"training": 216, "validation": 72, "test": 72}
    assert (seen["name"], seen["image_shape"], seen["classes"]) == ("shapes", [*SMALL, 3], list(SHAPES))
    drawn = cli.json("preview", "--sweep", "shapes.toml", "--home", "home")
    conv, out = (3 * 9 + 1) * 16, 33 * 3
    sizes = {conv + (3 * 3 * 16 + 1) * 32 + out, conv + (16 * 9 + 1) * 16 + (16 + 1) * 32 + out}
    assert {net["parameters"] for net in drawn["nets"]} == sizes


@pytest.mark.slow
def test_the_finals_the_export_and_the_doctor_know_other_images(
    study: tuple[Cli, dict[str, Any]], tmp_path: Path
) -> None:
    cli, _ = study
    where = ("--study", "shapes", "--home", "home")
    told = cli.json("compare", *where, "--seeds", "2", "--top", "1")
    assert [it["name"] for it in told["nets"] if "trial" not in it["name"]] == ["lab-cnn1", "lab-mlp"]
    assert {claim["verdict"] for claim in told["claims"]} == {"not decided"}
    assert "a claim about Fashion-MNIST; on shapes, lab-cnn1 is" in told["claims"][0]["why"]
    assert "cross" in (cli.folder / told["report"]).read_text(encoding="utf-8")
    out = tmp_path / "model"
    written = cli.json("export", *where, "--model", "champion", "--format", "keras,onnx,litert", "--out", str(out))
    assert {name: it["argmax_agreement"] for name, it in written["formats"].items()} == dict.fromkeys(
        ("keras", "onnx", "litert"), 1.0
    )
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Drawn for a test." in card
    assert "colour pictures of 7x6 pixels" in card
    assert "clothing" not in card
    pixels, labels = shapes(60, seed=5, size=SMALL)
    np.save(tmp_path / "raw.npy", pixels)
    found = cli.json("predict", str(out), str(tmp_path / "raw.npy"))["predictions"]
    right = [SHAPES[label] == it["class"] for it, label in zip(found, labels, strict=True)]
    assert sum(right) > 40
    assert cli.json("doctor", "--home", "home")["findings"] == []
