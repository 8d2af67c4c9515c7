"""Keras' BatchNorm, dropout and Adam on TensorFlow's fused operations: the same values in fewer passes through memory.

Keras 3 writes each of them as a row of elementwise operations, and each of those reads and writes the whole tensor. For
small convolutions on a CPU that costs as much as the convolutions themselves. These classes serve training alone; a
model that leaves the program is made of Keras' own layers, which take the same weights.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

_LEVELS = 256  # of a random byte


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """As Keras' layer, over the last axis of (batch, ..., channels), with statistics in float32."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """See Keras' layer.

        Raises:
            ValueError: There is a mask, which convolutional nets have none of.
        """
        if mask is not None:
            raise ValueError("a mask was given; valid: None")
        channels = inputs.shape[-1]
        images = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, [-1, 1, 1, channels])
        learn = bool(training) and self.trainable
        nothing = tf.zeros([0])
        found = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=self.gamma,
            offset=self.beta,
            mean=nothing if learn else self.moving_mean,
            variance=nothing if learn else self.moving_variance,
            epsilon=self.epsilon,
            is_training=learn,
        )
        if learn:
            count = tf.cast(tf.size(images) // channels, tf.float32)
            # The operation's is the unbiased one; of a single value it is infinite on a GPU, and ours 0 as Keras'.
            variance = tf.math.multiply_no_nan(found.batch_variance, (count - 1) / count)
            for moving, now in ((self.moving_mean, found.batch_mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        return tf.reshape(found.y, tf.shape(inputs))


class FusedDropout(layers.Dropout):  # type: ignore[misc]
    """As Keras' layer; a rate of whole 256ths draws one random byte for a value, not four."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """See Keras' layer."""
        level = self.rate * _LEVELS
        if not training or not level or level != int(level):
            return super().call(inputs, training=training)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        size = tf.size(inputs)
        words = tf.random.stateless_uniform([(size + 3) // 4], seed, None, None, tf.uint32)
        drawn = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], tf.shape(inputs))
        kept = tf.cast(drawn >= tf.constant(int(level), tf.uint8), inputs.dtype)
        return inputs * (kept * tf.cast(1.0 / (1.0 - self.rate), inputs.dtype))


class _OneOperation:
    """An Adam whose step of one variable is one operation, and whose decays are computed once for all of them.

    It takes the place of a method that is Keras' own affair. Should a release do without, Keras' step is taken instead:
    the same values, more slowly.
    """

    def _backend_update_step(self: Any, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """Moves the float32 variables and their two moments, as Keras' ``update_step`` does one by one."""
        step = tf.cast(self.iterations + 1, tf.float32)
        beta_1, beta_2 = tf.constant(self.beta_1, tf.float32), tf.constant(self.beta_2, tf.float32)
        powers = {"beta1_power": tf.pow(beta_1, step), "beta2_power": tf.pow(beta_2, step)}
        rate, epsilon = tf.cast(learning_rate, tf.float32), tf.constant(self.epsilon, tf.float32)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            place = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=_handle(variable),
                m=_handle(self._momentums[place]),
                v=_handle(self._velocities[place]),
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=epsilon,
                grad=gradient,
                **powers,
            )


class FusedAdam(_OneOperation, keras.optimizers.Adam):  # type: ignore[misc]
    """As Keras' Adam."""


class FusedAdamW(_OneOperation, keras.optimizers.AdamW):  # type: ignore[misc]
    """As Keras' AdamW."""


def _handle(variable: Any) -> Any:
    """Of a Keras variable or of TensorFlow's own."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
