"""The lab's hand-built nets, as values: built, trained, tracked and scored like any trial.

The lab's protocol: pixels / 255, Adam as Keras has it, batch 32, 5 epochs, the last fifth of the training
images for validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.errors import SpecError, UsageError

PROTOCOL = TrainSpec(optimizer="adam", learning_rate=0.001, batch_size=32, epochs=5)
TRAIN_IMAGES = 48_000
ABOUT = {
    "lab-cnn1": "one convolution",
    "lab-cnn3": "three convolutions",
    "lab-cnn3-bn-as-written": (
        "BatchNormalization as it stands there: the layers are made and never added, so this is lab-cnn3"
    ),
    "lab-cnn3-bn-as-intended": "BatchNorm before every activation, on the logits too",
    "lab-mlp": (
        "a reconstruction: the lab's file does not show its fully connected net, only its 50 epochs and its result"
    ),
}
NAMES = tuple(ABOUT)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the lab's nets.

    Attributes:
        name: As the command line and MLflow name it.
        arch: The net.
        train: The recipe.
        about: What it is, in one line.
    """

    name: str
    arch: ArchSpec
    train: TrainSpec
    about: str


def check_names(names: Iterable[str]) -> None:
    """Raises UsageError if one of ``names`` is neither ``all`` nor one of the lab's nets."""
    for name in names:
        if name not in (*NAMES, "all"):
            raise UsageError(f"lab variant {name!r} is unknown; valid: all, {', '.join(NAMES)}")


def variants(
    wanted: Iterable[str] = ("all",),
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    epochs: int = PROTOCOL.epochs,
    seed: int = 0,
) -> list[Variant]:
    """The lab's nets for images of ``input_shape``; of ``all``, those that can be built for them.

    Args:
        wanted: Names of ``NAMES``, or ``all``.
        input_shape: Height, width, channels.
        classes: Of the data set.
        epochs: Of the convolutional nets; the fully connected one has ten times as many, as in the lab.
        seed: Of all of them.

    Raises:
        UsageError: An unknown name, or a net that is named and can't be built.
    """
    names = list(wanted)
    check_names(names)
    recipe = replace(PROTOCOL, epochs=epochs, seed=seed)
    found = []
    for name in NAMES:
        if name not in names and "all" not in names:
            continue
        try:
            arch = _net(name, input_shape, classes)
        except SpecError as error:
            if name in names:
                raise UsageError(f"{name} can't be built: {error}; leave it out of [lab] variants") from None
            continue
        found.append(Variant(name, arch, _slow(recipe) if name == "lab-mlp" else recipe, ABOUT[name]))
    return found


def _slow(recipe: TrainSpec) -> TrainSpec:
    return replace(recipe, optimizer="sgd", learning_rate=0.01, epochs=10 * recipe.epochs)


def _net(name: str, input_shape: tuple[int, int, int], classes: int) -> ArchSpec:
    if name == "lab-mlp":
        return ArchSpec(input_shape, classes, dense=(128,))
    if name == "lab-cnn1":
        return ArchSpec(input_shape, classes, (BlockSpec(32),), dense=(128,))
    cnn3 = ArchSpec(input_shape, classes, (BlockSpec(32), BlockSpec(64), BlockSpec(128)), dense=(512,))
    if name == "lab-cnn3-bn-as-intended":
        return replace(cnn3, batch_norm="before_activation", bn_dense=True, bn_logits=True)
    return cnn3


def seeded(
    wanted: Iterable[str],
    seeds: Iterable[int],
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    epochs: int = PROTOCOL.epochs,
) -> list[Variant]:
    """The lab's nets, each under every seed; all but the first seed's have it in their name.

    Raises:
        UsageError: An unknown name.
    """
    found: list[Variant] = []
    names = list(wanted)
    for turn, seed in enumerate(seeds):
        for variant in variants(names, input_shape=input_shape, classes=classes, epochs=epochs, seed=seed):
            name = variant.name if turn == 0 else f"{variant.name}-seed{seed}"
            found.append(replace(variant, name=name))
    return found
