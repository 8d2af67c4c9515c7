"""TensorFlow's SavedModel: a folder with graph and weights, for TensorFlow Serving and the like."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import quiet
from fmnist_sweep.errors import ExportError
from fmnist_sweep.exporting.base import Example, Floats, Format, Predict

# A SavedModel is a program: TensorFlow has operations that read and write any file, or call Python. These are
# all that an export of ours consists of: arithmetic, and the saving and restoring of its own variables.
_ARITHMETIC = (
    "AddV2 AvgPool BiasAdd Const Conv2D Identity MatMul MaxPool Mean Mul NoOp Pack Placeholder Relu Reshape "
    "Rsqrt Select Shape Softmax Squeeze StatefulPartitionedCall PartitionedCall StridedSlice Sub"
)
_VARIABLES = (
    "AssignVariableOp DisableCopyOnRead MergeV2Checkpoints ReadVariableOp RestoreV2 SaveV2 ShardedFilename "
    "StaticRegexFullMatch StringJoin VarHandleOp VarIsInitializedOp"
)
_ALLOWED = frozenset(f"{_ARITHMETIC} {_VARIABLES}".split())


def _write(model: Any, path: Path, _: Floats) -> None:
    import keras

    # Not model.export, which stores every weight twice (Keras 3.15).
    archive = keras.export.ExportArchive()
    image = keras.InputSpec(dtype="float32", shape=(None, *model.input_shape[1:]), name="image")
    archive.add_endpoint("serve", functools.partial(model.__call__, training=False), input_signature=[image])
    archive.write_out(str(path), verbose=False)


def _load(path: Path) -> Predict:
    quiet.load_tensorflow()
    import tensorflow as tf

    if strange := sorted(_operations(path) - _ALLOWED):
        raise ExportError(f"{path} has the operation {strange[0]}, which no export of this program has; not loaded")
    loaded = tf.saved_model.load(str(path))
    return lambda images: np.asarray(loaded.serve(tf.constant(images)), np.float32)


def _operations(path: Path) -> set[str]:
    """Every kind of operation in the graph and its functions, read without loading any of it."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((path / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in content.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    return {node.op for graph in graphs for node in graph.node} | {
        node.op for function in functions for node in function.node_def
    }


SAVED_MODEL = Format(
    name="saved_model",
    path="saved_model",
    exact=True,
    write=_write,
    load=_load,
    example=Example(
        packages="tensorflow",
        imports="import tensorflow as tf",
        predict='model = tf.saved_model.load(str(FOLDER / "saved_model"))\nprobabilities = model.serve(pixels).numpy()',
    ),
)
