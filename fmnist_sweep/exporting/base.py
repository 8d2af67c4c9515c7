"""What a format is: how a model is written in it, how it is read back, and what that needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Predict = Callable[[Floats], Floats]
"""Raw images, float32 (count, height, width, channels), 0 to 255 -> probabilities, float32 (count, classes)."""

EXTRA = "pip install 'fmnist-sweep[export]'"


@dataclass(frozen=True, slots=True)
class Example:
    """The lines of an example script that differ from format to format.

    Attributes:
        packages: What pip must install for it, Pillow and NumPy aside.
        imports: Of those packages.
        predict: From ``pixels``, one image, and ``FOLDER`` to ``probabilities``, shape (1, classes).
    """

    packages: str
    imports: str
    predict: str


@dataclass(frozen=True, slots=True)
class Format:
    """One format of an exported model.

    Attributes:
        name: As in ``--format``.
        path: Its file or folder within an export.
        exact: Whether it must give what the original gives; else it may lose a little accuracy, which is measured.
        needs: Modules that writing and checking it needs beside what the package always has.
        write: Writes a Keras model to a path; raw images are at hand, float32 (count, height, width, channels), for
            those that must see some.
        load: Reads it back, ready to predict.
        runs_on: The modules of ``needs`` that ``load`` needs.
        example: For the script that goes with it.
    """

    name: str
    path: str
    exact: bool
    write: Callable[[Any, Path, Floats], None]
    load: Callable[[Path], Predict]
    example: Example
    needs: tuple[str, ...] = ()
    runs_on: tuple[str, ...] = ()
