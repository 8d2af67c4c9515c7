"""The lab's nets as values."""

from __future__ import annotations

import pytest

from fmnist_sweep import arithmetic, config, lab
from fmnist_sweep.arch import TrainSpec, fingerprint
from fmnist_sweep.commands.run import lab_epochs
from fmnist_sweep.errors import UsageError
from fmnist_sweep.lab import Variant
from fmnist_sweep.study import Plan

SHAPE = (28, 28, 1)


def by_name(shape: tuple[int, int, int] = SHAPE, epochs: int = 5, seed: int = 0) -> dict[str, Variant]:
    found = lab.variants(input_shape=shape, classes=10, epochs=epochs, seed=seed)
    return {variant.name: variant for variant in found}


def test_names_and_sizes() -> None:
    sizes = {name: arithmetic.cost(variant.arch).parameters for name, variant in by_name().items()}
    assert sizes == {
        "lab-cnn1": 804_554,
        "lab-cnn3": 688_138,
        "lab-cnn3-bn-as-written": 688_138,
        "lab-cnn3-bn-as-intended": 691_122,
        "lab-mlp": 784 * 128 + 128 + 128 * 10 + 10,
    }
    assert tuple(sizes) == lab.NAMES


def test_the_recipe_is_that_of_the_lab() -> None:
    recipe = TrainSpec(optimizer="adam", learning_rate=0.001, schedule="constant", batch_size=32, epochs=5, seed=0)
    variants = by_name()
    mlp = variants.pop("lab-mlp")
    assert {variant.train for variant in variants.values()} == {recipe}
    assert (mlp.train.optimizer, mlp.train.epochs) == ("sgd", 50)
    assert all(variant.about and "\n" not in variant.about for variant in (mlp, *variants.values()))


def test_as_written_it_is_the_net_without_batch_norm() -> None:
    marks = {name: fingerprint(variant.arch, variant.train) for name, variant in by_name().items()}
    assert marks["lab-cnn3-bn-as-written"] == marks["lab-cnn3"]
    assert len(set(marks.values())) == len(marks) - 1


def test_as_intended_it_normalises_everything() -> None:
    arch = by_name()["lab-cnn3-bn-as-intended"].arch
    kinds = [layer.name for layer in arithmetic.layers(arch)]
    assert kinds.count("batch_norm") == kinds.count("conv") + kinds.count("dense") + kinds.count("logits") == 5
    assert arch.batch_norm == "before_activation"


def test_only_what_is_wanted_in_the_labs_order() -> None:
    found = lab.variants(["lab-mlp", "lab-cnn1", "lab-mlp"], input_shape=SHAPE, classes=10)
    assert [variant.name for variant in found] == ["lab-cnn1", "lab-mlp"]
    assert lab.variants([], input_shape=SHAPE, classes=10) == []


def test_unknown_names() -> None:
    said = "lab variant 'lab-cnn2' is unknown; valid: all, lab-cnn1, .*lab-mlp"
    for ask in (
        lambda: lab.check_names(["lab-cnn1", "lab-cnn2"]),
        lambda: lab.variants(["lab-cnn2"], input_shape=SHAPE, classes=10),
        lambda: lab.seeded(["lab-cnn2"], [0], input_shape=SHAPE, classes=10),
    ):
        with pytest.raises(UsageError, match=said):
            ask()
    lab.check_names(["all", *lab.NAMES])


def test_each_seed_has_its_variants() -> None:
    found = lab.seeded(["lab-cnn1", "lab-mlp"], [3, 4], input_shape=SHAPE, classes=10, epochs=2)
    assert [(variant.name, variant.train.seed, variant.train.epochs) for variant in found] == [
        ("lab-cnn1", 3, 2),
        ("lab-mlp", 3, 20),
        ("lab-cnn1-seed4", 4, 2),
        ("lab-mlp-seed4", 4, 20),
    ]
    assert {variant.arch for variant in found[:2]} == {variant.arch for variant in found[2:]}
    once = lab.seeded(iter(["all"]), iter([0, 1]), input_shape=SHAPE, classes=10)
    assert len({variant.name for variant in once}) == 2 * len(lab.NAMES)


def test_epochs_and_seed_are_for_all_of_them() -> None:
    variants = by_name(epochs=2, seed=9)
    assert {variant.train.seed for variant in variants.values()} == {9}
    epochs = {name: variant.train.epochs for name, variant in variants.items()}
    assert epochs.pop("lab-mlp") == 20
    assert set(epochs.values()) == {2}


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (9, 50, 4)])
def test_other_images(shape: tuple[int, int, int]) -> None:
    for variant in by_name(shape).values():
        assert variant.arch.input_shape == shape
        assert arithmetic.cost(variant.arch).parameters > 0


@pytest.mark.parametrize(("epochs", "labs"), [(20, 5), (5, 5), (2, 2)])
def test_in_a_search_and_its_finals_the_labs_nets_train_as_in_the_lab_or_less(epochs: int, labs: int) -> None:
    """Whether the sweep says so or ``--epochs``, which the study keeps; ``compare`` has no such option."""
    sweep = config.parse('title = "nets"\n[space]\ndepth = 1\n', "nets").changed(epochs=epochs)
    assert lab_epochs(Plan("nets", "nets", sweep, 0)) == labs
