"""LiteRT, formerly TensorFlow Lite: one small file for phones and boards, in float32 or in 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import quiet
from fmnist_sweep.executors.limits import usable_cores
from fmnist_sweep.exporting.base import Example, Floats, Format, Predict


def _write(model: Any, path: Path, _: Floats) -> None:
    import tensorflow as tf

    operations = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(str(path), format="litert", verbose=False, target_spec=operations)


def _write_int8(model: Any, path: Path, images: Floats) -> None:
    """Weights and layers in 8-bit integers; the ranges of the layers' values are those seen on ``images``."""
    import tensorflow as tf

    def samples() -> Iterator[list[Floats]]:
        return ([image[np.newaxis]] for image in images)

    model.export(
        str(path),
        format="litert",
        verbose=False,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=samples,
    )


def _load(path: Path) -> Predict:
    with quiet.silenced():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=len(usable_cores()))
        interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    exit_ = interpreter.get_output_details()[0]["index"]
    shape: tuple[int, ...] = ()

    def predict(images: Floats) -> Floats:
        nonlocal shape
        if images.shape != shape:  # memory is laid out for one size of batch at a time
            shape = images.shape
            interpreter.resize_tensor_input(entry, shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(entry, images)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(exit_), np.float32)

    return predict


def _example(path: str) -> Example:
    return Example(
        packages="ai-edge-litert",
        imports="from ai_edge_litert.interpreter import Interpreter",
        predict=f'runner = Interpreter(str(FOLDER / "{path}")).get_signature_runner()\n'
        "probabilities = next(iter(runner(image=pixels).values()))",
    )


LITERT = Format(
    name="litert",
    path="model.tflite",
    exact=True,
    write=_write,
    load=_load,
    example=_example("model.tflite"),
    needs=("ai_edge_litert",),
    runs_on=("ai_edge_litert",),
)
LITERT_INT8 = Format(
    name="litert-int8",
    path="model-int8.tflite",
    exact=False,
    write=_write_int8,
    load=_load,
    example=_example("model-int8.tflite"),
    needs=("ai_edge_litert",),
    runs_on=("ai_edge_litert",),
)
