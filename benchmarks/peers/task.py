"""What a peer is asked to do, and what it says: files in its own folder, so that a peer is a process of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import append_line, read_lines
from fmnist_sweep import config
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.data import FASHION_MNIST, PreparedData
from fmnist_sweep.space import Suggest, sample

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Images:
    """Images as float32 from 0 to 1, shape (n, height, width, channels), and labels (n,)."""

    x: Floats
    y: Labels
    x_val: Floats
    y_val: Labels


@dataclass(frozen=True, slots=True)
class PeerTask:
    """The task of a peer.

    Attributes:
        images: The ``.npy`` file of all images, training first, validation last.
        labels: The ``.npy`` file of their labels.
        train_images: How many of the first to train on.
        validation_images: How many of the last are for validation.
        trials: To run in all, those of an earlier session included.
        epochs: Of a full training.
        seed: Of what is drawn.
    """

    images: str
    labels: str
    train_images: int
    validation_images: int
    trials: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, data: PreparedData, *, trials: int, epochs: int, seed: int) -> PeerTask:
        """The task over the product's own images."""
        images, labels = str(data.images.resolve()), str(data.labels.resolve())
        return cls(images, labels, data.train_images, data.validation_images, trials, epochs, seed)

    def write(self, folder: Path) -> None:
        """Puts the task into a peer's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "task.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> PeerTask:
        """The task in a peer's folder."""
        return cls(**json.loads((folder / "task.json").read_text()))

    def load(self) -> Images:
        """The images as Keras' examples prepare them: one float32 array, divided by 255."""
        images, labels = np.load(self.images), np.load(self.labels)
        x = images[: self.train_images].astype("float32") / 255
        x_val = images[-self.validation_images :].astype("float32") / 255
        return Images(x, labels[: self.train_images], x_val, labels[-self.validation_images :])


@dataclass(frozen=True, slots=True)
class PeerTrial:
    """One trial of a peer.

    Attributes:
        began: Seconds since 1970.
        ended: Likewise.
        epochs: Trained in this trial.
        train_s: Seconds of that training.
        score_s: Seconds of validation after the epochs.
        state: ``complete``, ``pruned``, ``failed``, or ``short`` where the tool means no full training by it.
        val_accuracy: The best of its epochs, 0 to 1.
        arch: The net, as ``ArchSpec.to_dict`` has it.
    """

    began: float
    ended: float
    epochs: int
    train_s: float
    score_s: float
    state: str
    val_accuracy: float
    arch: dict[str, Any]

    @property
    def net(self) -> str:
        """Names the configuration."""
        return fingerprint(ArchSpec.from_dict(self.arch), TrainSpec())

    @classmethod
    def of(
        cls, arch: ArchSpec, began: float, ended: float, state: str, epochs: Sequence[dict[str, float]]
    ) -> PeerTrial:
        """A trial whose epochs were timed."""
        train_s = sum(epoch["train_s"] for epoch in epochs)
        score_s = sum(epoch["whole_s"] for epoch in epochs) - train_s
        best = max((epoch["val_accuracy"] for epoch in epochs), default=0.0)
        return cls(began, ended, len(epochs), train_s, score_s, state, best, arch.to_dict())


def sampled(suggest: Suggest) -> ArchSpec:
    """A net of the default sweep's space, drawn by a peer's library."""
    shape, classes = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)
    return sample(config.load("default")[1], suggest, input_shape=shape, classes=classes)[0]


def tell(folder: Path, trial: PeerTrial) -> None:
    """Says that a trial has ended."""
    append_line(folder / "trials.jsonl", {"trial": asdict(trial)})


def told(folder: Path) -> list[PeerTrial]:
    """The trials that have ended so far."""
    return [PeerTrial(**line["trial"]) for line in read_lines(folder / "trials.jsonl") if "trial" in line]
