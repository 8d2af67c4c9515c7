"""The fused layers and optimizers beside Keras' own."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from fmnist_sweep.arch import ArchSpec, BlockSpec
from fmnist_sweep.fused import FusedAdam, FusedAdamW, FusedBatchNormalization, FusedDropout
from fmnist_sweep.model import build

SHAPES = [(8, 6, 6, 5), (32, 7), (2, 1, 1, 3)]
PRECISIONS = [("float32", 1e-4), ("mixed_bfloat16", 0.05)]


def values(shape: tuple[int, ...]) -> tf.Tensor:
    return tf.constant(np.random.default_rng(3).normal(2.0, 3.0, shape), tf.float32)


def pair(shape: tuple[int, ...], precision: str) -> list[keras.layers.BatchNormalization]:
    layers = [kind(dtype=precision) for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)]
    for layer in layers:
        layer.build(shape)
        for place, weight in enumerate(layer.weights):  # gamma, beta, moving mean, moving variance
            weight.assign(np.random.default_rng(place).uniform(0.5, 1.5, weight.shape))
    return layers


class TestBatchNorm:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
    def test_training_gives_the_same_values_gradients_and_averages(
        self, shape: tuple[int, ...], precision: str, tolerance: float
    ) -> None:
        found = []
        for layer in pair(shape, precision):
            inputs = values(shape)
            for _ in range(2):
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    outputs = layer(inputs, training=True)
                    goal = tf.reduce_sum(tf.cast(outputs, tf.float32) * tf.reverse(inputs, [0]))
                gradients = tape.gradient(goal, [inputs, layer.gamma.value, layer.beta.value])
            assert outputs.dtype == layer.compute_dtype
            found.append([tf.cast(outputs, tf.float32), *gradients, layer.moving_mean, layer.moving_variance])
        for theirs, ours in zip(*found, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(np.abs(theirs).max()))

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
    def test_scoring_uses_the_averages_and_leaves_them(
        self, shape: tuple[int, ...], precision: str, tolerance: float
    ) -> None:
        theirs, ours = pair(shape, precision)
        before = [np.asarray(weight).copy() for weight in ours.weights]
        wanted, found = (tf.cast(layer(values(shape), training=False), tf.float32) for layer in (theirs, ours))
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
        for weight, old in zip(ours.weights, before, strict=True):
            np.testing.assert_array_equal(weight, old)

    def test_one_image_of_one_pixel_makes_no_nan(self) -> None:
        _, ours = pair((1, 4), "float32")
        assert np.isfinite(ours(values((1, 4)), training=True)).all()
        assert all(np.isfinite(weight).all() for weight in ours.weights)

    def test_a_mask_is_refused(self) -> None:
        with pytest.raises(ValueError, match="mask"):
            FusedBatchNormalization()(values((2, 4)), mask=tf.ones([2, 4], tf.bool))


class TestDropout:
    @pytest.mark.parametrize("rate", [0.125, 0.25, 0.5, 0.3])
    @pytest.mark.parametrize("shape", [(400, 21, 21, 6), (999, 1001)])
    def test_the_share_is_dropped_and_the_rest_scaled(self, rate: float, shape: tuple[int, ...]) -> None:
        outputs = np.asarray(FusedDropout(rate, seed=1)(tf.ones(shape), training=True))
        dropped = outputs == 0
        assert abs(dropped.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / outputs.size)
        np.testing.assert_allclose(outputs[~dropped], 1 / (1 - rate), rtol=1e-6)

    def test_every_place_is_drawn_by_itself_and_each_call_anew(self) -> None:
        layer = FusedDropout(0.5, seed=1)
        rows = np.stack([np.asarray(layer(tf.ones([64, 100]), training=True)) == 0 for _ in range(60)])
        shares = rows.mean(axis=0)  # of each place over 60 draws
        assert shares.min() > 0.1
        assert shares.max() < 0.9
        agreement = (rows[:-1] == rows[1:]).mean()
        beside = (rows[..., :-1] == rows[..., 1:]).mean()
        assert abs(agreement - 0.5) < 0.01
        assert abs(beside - 0.5) < 0.01

    def test_gradients_pass_where_values_do(self) -> None:
        inputs = tf.ones([20, 20])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = FusedDropout(0.25, seed=2)(inputs, training=True)
        np.testing.assert_array_equal(tape.gradient(outputs, inputs), outputs)

    def test_the_same_seed_drops_the_same(self) -> None:
        first, second = (FusedDropout(0.25, seed=7)(tf.ones([50, 50]), training=True) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_bfloat16_and_scoring(self) -> None:
        inputs = tf.ones([30, 30])
        layer = FusedDropout(0.25, seed=2, dtype="mixed_bfloat16")
        assert layer(inputs, training=True).dtype == tf.bfloat16
        np.testing.assert_array_equal(FusedDropout(0.25)(inputs, training=False), inputs)


def stepper(optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable]) -> Callable[[], None]:
    return lambda: optimizer.apply([tf.sin(weight.value) for weight in weights], weights)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (keras.optimizers.Adam(0.01), FusedAdam(0.01)),
        (keras.optimizers.AdamW(0.01, weight_decay=0.1), FusedAdamW(0.01, weight_decay=0.1)),
        (
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 8)),
            FusedAdam(keras.optimizers.schedules.CosineDecay(0.01, 8)),
        ),
    ],
    ids=["adam", "adamw", "schedule"],
)
def test_ten_steps_move_weights_and_moments_alike(
    theirs: keras.optimizers.Optimizer, ours: keras.optimizers.Optimizer
) -> None:
    found = []
    for optimizer in (theirs, ours):
        weights = [keras.Variable(values((4, 3))), keras.Variable(values((3,)))]
        optimizer.build(weights)

        in_graph = tf.function(stepper(optimizer, weights), autograph=False)
        for _ in range(10):
            in_graph()
        found.append([np.asarray(each) for each in (*weights, *optimizer.variables)])
    assert np.abs(found[0][0] - values((4, 3))).max() > 0.01
    for wanted, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


def test_the_net_for_training_has_the_weights_of_the_net_that_is_kept() -> None:
    blocks = (BlockSpec(8, convs=2, dropout=0.25), BlockSpec(16))
    arch = ArchSpec((12, 12, 1), 3, blocks, "after_activation", True, True, dense=(9,), dense_dropout=0.5)
    nets = [build(arch, fused=fused) for fused in (False, True)]
    plain, fused = ([(weight.path.split("/", 1)[-1], weight.shape) for weight in net.model.weights] for net in nets)
    assert plain == fused
    nets[0].model.set_weights(nets[1].model.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1)).astype(np.float32)
    np.testing.assert_allclose(nets[0].model(images), nets[1].model(images), rtol=1e-4, atol=1e-6)
    assert not any(type(layer).__module__.startswith("fmnist_sweep") for layer in nets[0].model.layers)
