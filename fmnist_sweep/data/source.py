"""What a data set must bring, wherever it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fmnist_sweep.data.arrays import LabelledImages


class DataSource(Protocol):
    """A data set whose files were found and checked; small enough to send to another process.

    What a new kind of data set must bring. Its two methods read the files, and raise ``DataError`` where these are
    no longer what they were when they were found.
    """

    @property
    def name(self) -> str:
        """Of the data set."""
        ...

    @property
    def about(self) -> str:
        """Where it comes from, for people; may be empty."""
        ...

    @property
    def folder(self) -> Path:
        """Where its training images are."""
        ...

    @property
    def origin(self) -> str:
        """How it was found, in words."""
        ...

    @property
    def md5(self) -> tuple[tuple[str, str], ...]:
        """Name and sum of each file."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, the same for the same images, labels and split."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        ...

    @property
    def train_limit(self) -> int:
        """The most images there are to train on."""
        ...

    @property
    def validation_count(self) -> int:
        """Images for validation."""
        ...

    @property
    def test_count(self) -> int:
        """Images of the test set."""
        ...

    def training(self) -> LabelledImages:
        """The images to train on, then those for validation."""
        ...

    def test(self) -> LabelledImages:
        """The test images."""
        ...
