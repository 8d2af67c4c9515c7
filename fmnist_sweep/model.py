"""From a spec to a Keras model, and its weights to bytes and back.

A model is made of Keras' own layers, and for training of those in ``fused``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from fmnist_sweep.arch import ArchSpec, BatchNorm, Pooling, Precision
from fmnist_sweep.errors import ExportError, first_line
from fmnist_sweep.fused import FusedBatchNormalization, FusedDropout

_KERAS_BATCH_NORM_MOMENTUM = 0.99


@dataclass(frozen=True, slots=True)
class Net:
    """One net with two outputs that share every layer.

    Attributes:
        model: Raw images, 0 to 255 -> probabilities (batch, classes).
        logits: Raw images, 0 to 255 -> the values before the softmax, for a stable loss.
    """

    model: Any
    logits: Any


@dataclass(frozen=True, slots=True)
class _Kit:
    """What the layers have in common: their dtype policy, and Keras' own layers or the fused ones for training."""

    policy: Any
    fused: bool

    def batch_norm(self, name: str) -> Any:
        kind = FusedBatchNormalization if self.fused else layers.BatchNormalization
        return kind(name=name, dtype=self.policy)

    def dropout(self, rate: float, name: str) -> Any:
        return (FusedDropout if self.fused else layers.Dropout)(rate, name=name, dtype=self.policy)


def build(arch: ArchSpec, precision: Precision = "float32", name: str = "net", *, fused: bool = False) -> Net:
    """Builds the net that ``arch`` describes, with fresh weights from Keras' global seed.

    The model takes raw pixels (0 to 255) and scales them itself, so whoever uses it later can't
    forget to. The softmax is computed in float32 whatever the precision.

    Args:
        arch: The net.
        precision: Of all but the softmax.
        name: Of the model.
        fused: For training: the layers of ``fused``, which no saved model may hold. The weights are the same.
    """
    policy = keras.dtype_policies.DTypePolicy(precision)
    kit = _Kit(policy, fused)
    raw = keras.Input(arch.input_shape, name="image")  # (batch, height, width, channels), 0-255
    x = layers.Rescaling(1 / 255, name="scale", dtype=policy)(raw)
    for place, block in enumerate(arch.blocks, start=1):
        for turn in range(1, block.convs + 1):
            label = f"block{place}_conv{turn}"
            conv = layers.Conv2D(block.filters, block.kernel_size, padding="same", name=label, dtype=policy)
            pool = _pool(block.pooling, f"block{place}_pool", policy) if turn == block.pooled else None
            x = _activated(conv(x), arch.batch_norm, label, kit, pool)  # (batch, h, w, filters), h and w halved
        if block.dropout:
            x = kit.dropout(block.dropout, f"block{place}_dropout")(x)
    if arch.head == "global_average":
        x = layers.GlobalAveragePooling2D(name="head", dtype=policy)(x)  # (batch, filters)
    else:
        x = layers.Flatten(name="head", dtype=policy)(x)  # (batch, h * w * filters)
    for place, units in enumerate(arch.dense, start=1):
        label = f"dense{place}"
        dense = layers.Dense(units, name=label, dtype=policy)(x)
        x = _activated(dense, arch.batch_norm if arch.bn_dense else "none", label, kit)  # (batch, units)
        if arch.dense_dropout:
            x = kit.dropout(arch.dense_dropout, f"{label}_dropout")(x)
    x = layers.Dense(arch.classes, name="logits", dtype=policy)(x)  # (batch, classes)
    if arch.bn_logits:
        x = kit.batch_norm("logits_bn")(x)
    probabilities = layers.Activation("softmax", name="probabilities", dtype="float32")(x)
    return Net(keras.Model(raw, probabilities, name=name), keras.Model(raw, x, name=f"{name}_logits"))


def _pool(kind: Pooling, name: str, policy: Any) -> Any:
    if kind == "none":
        return None
    return {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[kind](2, name=name, dtype=policy)


def _activated(x: Any, placement: BatchNorm, label: str, kit: _Kit, pool: Any = None) -> Any:
    """ReLU, with BatchNorm where ``placement`` says, and ``pool``.

    The largest of four values is the same before and after ReLU, so where nothing stands between the two, the
    pooling goes first: the same function and gradients, and a quarter of the values for ReLU to pass through.
    """
    if placement == "after_pooling" and pool is not None:
        x, pool = pool(x), None
    if placement in ("before_activation", "after_pooling"):
        x = kit.batch_norm(f"{label}_bn")(x)
    if isinstance(pool, layers.MaxPooling2D) and placement != "after_activation":
        x, pool = pool(x), None
    x = layers.ReLU(name=f"{label}_relu", dtype=kit.policy)(x)
    if placement == "after_activation":
        x = kit.batch_norm(f"{label}_bn")(x)
    return x if pool is None else pool(x)


def settled_weights(model: Any, steps: int) -> list[np.ndarray]:
    """The model's weights with BatchNorm's moving averages freed from their starting values.

    A moving average m_t = p m_(t-1) + (1 - p) x_t that starts at m_0 still holds p^t of m_0 after t
    steps (with Keras' p = 0.99 a tenth after 230 steps), so a short run is scored with statistics
    of no image at all. (m_t - p^t m_0) / (1 - p^t) is the average of what was really seen: the
    correction that Adam makes to its moments (Kingma and Ba, 2015, section 3). After an epoch of
    1,500 steps it changes nothing.

    Args:
        model: A Keras model trained for ``steps`` steps from the starting values 0 (mean) and 1 (variance).
        steps: Training steps so far.
    """
    left = _KERAS_BATCH_NORM_MOMENTUM**steps
    corrected: dict[str, np.ndarray] = {}
    if steps > 0 and left > 1e-9:
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                for variable, start in ((layer.moving_mean, 0.0), (layer.moving_variance, 1.0)):
                    value = (np.asarray(variable) - left * start) / (1 - left)
                    corrected[variable.path] = value.astype(np.float32)
    return [corrected.get(weight.path, np.asarray(weight)) for weight in model.weights]


def weights_to_bytes(weights: list[np.ndarray]) -> bytes:
    """Weights in the model's own order as an .npz file without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, **{f"{place:03d}": np.asarray(value) for place, value in enumerate(weights)})  # type: ignore[arg-type]
    return buffer.getvalue()


def weights_from_bytes(content: bytes) -> list[np.ndarray]:
    """The inverse of ``weights_to_bytes``; never unpickles.

    Raises:
        ExportError: The bytes are no such file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return [archive[name] for name in sorted(archive.files)]
    except Exception as error:
        raise ExportError(f"weights can't be read: {first_line(error)}") from error


def rebuild(arch: ArchSpec, weights: bytes, name: str = "net") -> Any:
    """The float32 model of ``arch`` with the given weights; no code from any file runs.

    Raises:
        ExportError: The weights don't fit the net.
    """
    model = build(arch, name=name).model
    try:
        model.set_weights(weights_from_bytes(weights))
    except ValueError as error:
        raise ExportError(f"weights don't fit the net {arch.short}: {first_line(error)}") from error
    return model
