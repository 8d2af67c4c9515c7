"""ONNX: one file that many runtimes read, in many languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep.exporting.base import Example, Floats, Format, Predict

_ERRORS_ALONE = 3


def _write(model: Any, path: Path, images: Floats) -> None:
    model(images[:1])  # Keras refuses to write a model in this format that was never called
    model.export(str(path), format="onnx", verbose=False)


def _load(path: Path) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ALONE
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"image": images})[0], np.float32)


ONNX = Format(
    name="onnx",
    path="model.onnx",
    exact=True,
    write=_write,
    load=_load,
    example=Example(
        packages="onnxruntime",
        imports="import onnxruntime",
        predict='session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"))\n'
        'probabilities = session.run(None, {"image": pixels})[0]',
    ),
    needs=("tf2onnx", "onnxruntime"),
    runs_on=("onnxruntime",),
)
