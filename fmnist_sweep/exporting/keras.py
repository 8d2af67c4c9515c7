"""Keras' own format: one file with the net's description and its weights, no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import quiet
from fmnist_sweep.exporting.base import Example, Floats, Format, Predict


def predictor(model: Any) -> Predict:
    """A Keras model as a function of arrays."""
    return lambda images: np.asarray(model.predict_on_batch(images), np.float32)


def _write(model: Any, path: Path, _: Floats) -> None:
    model.save(path)


def _load(path: Path) -> Predict:
    quiet.load_tensorflow()
    import keras

    return predictor(keras.models.load_model(path, safe_mode=True))


KERAS = Format(
    name="keras",
    path="model.keras",
    exact=True,
    write=_write,
    load=_load,
    example=Example(
        packages="tensorflow",
        imports="import keras",
        predict='model = keras.models.load_model(FOLDER / "model.keras")\n'
        "probabilities = model.predict(pixels, verbose=0)",
    ),
)
