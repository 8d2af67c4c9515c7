"""Keras models from specs: what they take and give, and weights to bytes and back."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from fmnist_sweep.arch import ArchSpec, BlockSpec
from fmnist_sweep.errors import ExportError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SPEC = ArchSpec((12, 12, 1), 4, (BlockSpec(8), BlockSpec(8)), batch_norm="before_activation", dense=(16,))


def test_takes_raw_pixels_and_gives_probabilities() -> None:
    from fmnist_sweep.model import build

    net = build(SPEC)
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1)).astype(np.float32)
    probabilities = np.asarray(net.model(images))
    assert probabilities.shape == (5, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
    logits = np.asarray(net.logits(images))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, softmax, rtol=1e-4)


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("none", ["Conv2D", "MaxPooling2D", "ReLU"]),
        ("before_activation", ["Conv2D", "BatchNormalization", "MaxPooling2D", "ReLU"]),
        ("after_activation", ["Conv2D", "ReLU", "BatchNormalization", "MaxPooling2D"]),
        ("after_pooling", ["Conv2D", "MaxPooling2D", "BatchNormalization", "ReLU"]),
    ],
)
def test_batch_norm_stands_where_the_spec_says(placement: str, order: list[str]) -> None:
    from fmnist_sweep.model import build

    spec = ArchSpec((12, 12, 1), 4, (BlockSpec(8),), batch_norm=placement)  # type: ignore[arg-type]
    names = [type(layer).__name__ for layer in build(spec).model.layers]
    assert names[2 : 2 + len(order)] == order


@pytest.mark.parametrize("placement", ["none", "before_activation"])
def test_pooling_before_relu_is_the_same_function_with_the_same_gradients(placement: str) -> None:
    import keras
    import tensorflow as tf
    from keras import layers

    from fmnist_sweep.model import build

    spec = ArchSpec((12, 12, 1), 4, (BlockSpec(8),), batch_norm=placement)  # type: ignore[arg-type]
    ours = build(spec).logits
    raw = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 3, padding="same")(layers.Rescaling(1 / 255)(raw))
    x = layers.BatchNormalization()(x) if placement == "before_activation" else x
    x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    textbook = keras.Model(raw, layers.Dense(4)(layers.Flatten()(x)))
    textbook.set_weights(ours.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (32, 12, 12, 1)).astype(np.float32)
    labels = np.arange(32) % 4

    def outputs_and_gradients(model: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return np.asarray(logits), [np.asarray(it) for it in tape.gradient(loss, model.trainable_variables)]

    (logits, gradients), (expected, expected_gradients) = outputs_and_gradients(ours), outputs_and_gradients(textbook)
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_average_pooling_stays_behind_relu() -> None:
    from fmnist_sweep.model import build

    names = [
        type(layer).__name__
        for layer in build(ArchSpec((12, 12, 1), 4, (BlockSpec(8, pooling="average"),))).model.layers
    ]
    assert names[2:5] == ["Conv2D", "ReLU", "AveragePooling2D"]


def test_bn_on_the_logits_stands_before_the_softmax() -> None:
    from fmnist_sweep.model import build

    spec = ArchSpec((12, 12, 1), 4, (BlockSpec(8),), batch_norm="before_activation", bn_logits=True)
    names = [type(layer).__name__ for layer in build(spec).model.layers]
    assert names[-3:] == ["Dense", "BatchNormalization", "Activation"]


def test_weights_survive_bytes_and_a_rebuild() -> None:
    from fmnist_sweep.model import build, rebuild, weights_to_bytes

    model = build(SPEC).model
    again = rebuild(SPEC, weights_to_bytes(model.get_weights()))
    images = np.full((2, 12, 12, 1), 90, np.float32)
    assert np.array_equal(np.asarray(model(images)), np.asarray(again(images)))


def test_weights_of_another_net_are_refused() -> None:
    from fmnist_sweep.model import build, rebuild, weights_to_bytes

    other = build(ArchSpec((12, 12, 1), 4, (BlockSpec(16),))).model
    with pytest.raises(ExportError, match="don't fit the net 2x conv 8-8"):
        rebuild(SPEC, weights_to_bytes(other.get_weights()))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", pickle.dumps([1, 2])], ids=["empty", "torn", "pickle"])
def test_bytes_that_are_no_weights_are_refused(content: bytes) -> None:
    from fmnist_sweep.model import weights_from_bytes

    with pytest.raises(ExportError, match="weights can't be read"):
        weights_from_bytes(content)


def test_settled_weights_take_out_what_the_averages_started_from() -> None:
    from fmnist_sweep.model import build, settled_weights

    model = build(SPEC).model
    layer = next(layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    mean, variance = np.full(8, 3.0, np.float32), np.full(8, 5.0, np.float32)
    for steps in (1, 10, 200):
        left = 0.99**steps
        layer.moving_mean.assign((1 - left) * mean)
        layer.moving_variance.assign(left * 1.0 + (1 - left) * variance)
        settled = dict(zip([w.path for w in model.weights], settled_weights(model, steps), strict=True))
        np.testing.assert_allclose(settled[layer.moving_mean.path], mean, rtol=1e-3)
        np.testing.assert_allclose(settled[layer.moving_variance.path], variance, rtol=1e-3)
    kept = settled_weights(model, 5_000)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.get_weights(), strict=True))
