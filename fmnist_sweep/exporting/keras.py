"""Keras' own format: one file with the net's description and its weights, no code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import quiet
from fmnist_sweep.errors import ExportError, first_line
from fmnist_sweep.exporting.base import Example, Floats, Format, Predict

# Keras refuses code in a file by itself (safe_mode); yet some of its layers read any file that they are told to. These
# are all that an export of ours consists of.
_LAYERS = (
    "Activation AveragePooling2D BatchNormalization Conv2D Dense Dropout Flatten GlobalAveragePooling2D InputLayer "
    "MaxPooling2D ReLU Rescaling"
)
_ALLOWED = frozenset(f"{_LAYERS} DTypePolicy Functional GlorotUniform Ones Zeros __keras_tensor__".split())
_MODULES = (None, "keras", "keras.layers", "keras.initializers", "keras.src.models.functional")


def predictor(model: Any) -> Predict:
    """A Keras model as a function of arrays."""
    return lambda images: np.asarray(model.predict_on_batch(images), np.float32)


def _write(model: Any, path: Path, _: Floats) -> None:
    model.save(path)


def _load(path: Path) -> Predict:
    if strange := _strange(path):
        raise ExportError(f"{path} has {strange}, which no export of this program has; not loaded")
    quiet.load_tensorflow()
    import keras

    return predictor(keras.models.load_model(path, safe_mode=True))


def _strange(path: Path) -> str:
    """What the net's description names that no net of ours has, read without loading any of it; "" for nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} can't be read: {type(error).__name__} {first_line(error)}") from None
    for part in _parts(described):
        module, name = part.get("module"), part.get("class_name")
        if name not in _ALLOWED or module not in _MODULES:
            return f"the part {module}.{name}"
    return ""


def _parts(described: Any) -> Iterator[dict[str, Any]]:
    """Everything that Keras would make an object of, at any depth."""
    inner = described.values() if isinstance(described, dict) else described if isinstance(described, list) else ()
    if isinstance(described, dict) and "class_name" in described:
        yield described
    for value in inner:
        yield from _parts(value)


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
