"""One net in plain Keras: layers on top of each other, ``compile``, as Keras' guide to the Sequential model has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fmnist_sweep.arch import ArchSpec, BatchNorm


def compiled(arch: ArchSpec, *, steps_per_execution: int = 1) -> Any:
    """The net of ``arch`` for float32 images from 0 to 1, compiled with the lab's recipe.

    Args:
        arch: The net.
        steps_per_execution: Keras' own way to put several steps into one call of the graph; 1 is its default.
    """
    model = keras.Sequential([keras.Input(arch.input_shape)])
    for block in arch.blocks:
        for turn in range(1, block.convs + 1):
            relu = "relu" if arch.batch_norm == "none" else None
            model.add(layers.Conv2D(block.filters, block.kernel_size, padding="same", activation=relu))
            last = turn == block.pooled
            pool = layers.MaxPooling2D(2) if block.pooling == "max" else layers.AveragePooling2D(2)
            _normalise(model, arch.batch_norm, [pool] if last else [])
        if block.dropout:
            model.add(layers.Dropout(block.dropout))
    model.add(layers.GlobalAveragePooling2D() if arch.head == "global_average" else layers.Flatten())
    for units in arch.dense:
        model.add(layers.Dense(units, activation=None if arch.bn_dense else "relu"))
        _normalise(model, arch.batch_norm if arch.bn_dense else "none")
        if arch.dense_dropout:
            model.add(layers.Dropout(arch.dense_dropout))
    model.add(layers.Dense(arch.classes, activation=None if arch.bn_logits else "softmax"))
    if arch.bn_logits:
        model.add(layers.BatchNormalization())
        model.add(layers.Activation("softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    return model


def _normalise(model: Any, batch_norm: BatchNorm, pool: Sequence[Any] = ()) -> None:
    """BatchNorm and the ReLU beside it, then the pooling; without BatchNorm the layer has its ReLU already."""
    norm, relu = layers.BatchNormalization(), layers.ReLU()
    for layer in {
        "none": pool,
        "before_activation": [norm, relu, *pool],
        "after_activation": [relu, norm, *pool],
        "after_pooling": [*pool, norm, relu],
    }[batch_norm]:
        model.add(layer)
