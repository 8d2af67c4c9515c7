"""TensorFlow's SavedModel: a folder with graph and weights, for TensorFlow Serving and the like."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import quiet
from fmnist_sweep.errors import ExportError
from fmnist_sweep.exporting.base import Example, Floats, Format, Predict

# A SavedModel is a program: TensorFlow has operations that read and write any file, or call Python. These are
# all that an export of ours consists of: arithmetic, and the saving and restoring of its own variables. Those that
# touch files are in functions of their own, which whoever loads and calls the model never runs.
_ARITHMETIC = (
    "AddV2 AvgPool BiasAdd Const Conv2D Identity MatMul MaxPool Mean Mul NoOp Pack Placeholder Relu Reshape "
    "Rsqrt Select Shape Softmax Squeeze StatefulPartitionedCall PartitionedCall StridedSlice Sub"
)
_VARIABLES = (
    "AssignVariableOp DisableCopyOnRead ReadVariableOp StaticRegexFullMatch StringJoin VarHandleOp VarIsInitializedOp"
)
_FILES = frozenset(["MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"])
_HARMLESS = frozenset(f"{_ARITHMETIC} {_VARIABLES}".split())


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

    if strange := sorted(_strange(path)):
        raise ExportError(f"{path} has {strange[0]}, which no export of this program has; not loaded")
    loaded = tf.saved_model.load(str(path))
    return lambda images: np.asarray(loaded.serve(tf.constant(images)), np.float32)


def _strange(path: Path) -> set[str]:
    """What of a SavedModel none of ours has, read without loading any of it."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((path / "saved_model.pb").read_bytes())
    if len(content.meta_graphs) != 1 or not content.meta_graphs[0].object_graph_def.nodes:
        return {"a graph of TensorFlow 1"}  # which is run in loading
    (meta,) = content.meta_graphs
    library = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    named = set(meta.object_graph_def.concrete_functions)
    for node in meta.object_graph_def.nodes:
        named.update(node.function.concrete_functions)
        named.add(node.bare_concrete_function.concrete_function_name)
    called = _reached(named, library)
    saving = {node.op for name, nodes in library.items() if name not in called for node in nodes}
    others = {node.op for name in called for node in library[name]} | {node.op for node in meta.graph_def.node}
    return {f"the operation {name}" for name in (saving - _HARMLESS - _FILES) | (others - _HARMLESS)}


def _reached(names: set[str], library: Mapping[str, Sequence[Any]]) -> set[str]:
    """The functions of those names and all that they call."""
    found: set[str] = set()
    while names := {name for name in names if name in library} - found:
        found |= names
        values = [value for name in names for node in library[name] for value in node.attr.values()]
        names = {function.name for value in values for function in (value.func, *value.list.func)}
    return found


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
