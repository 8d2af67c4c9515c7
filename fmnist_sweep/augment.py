"""Random changes of training images, inside the graph, each image by its own draw."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def augmented(pixels: Any, draw: Any, *, flip: bool, shift: int) -> Any:
    """Mirrors and moves images; a pure function of its arguments.

    Args:
        pixels: float32 (batch, height, width, channels).
        draw: int64 (2,), the seed of this batch.
        flip: Mirror left to right, each image with probability one half.
        shift: Move by -shift to shift pixels down and right, each image by its own whole amounts;
            what moves in is black.

    Returns:
        Images of the same shape.
    """
    batch = tf.shape(pixels)[0]
    if flip:
        coin = tf.random.stateless_uniform([batch, 1, 1, 1], draw) < 0.5
        pixels = tf.where(coin, tf.reverse(pixels, axis=[2]), pixels)
    if shift:
        height, width = pixels.shape[1], pixels.shape[2]
        offsets = tf.random.stateless_uniform([2, batch, 1], draw + 1, 0, 2 * shift + 1, tf.int32)
        padded = tf.pad(pixels, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
        padded = tf.gather(padded, offsets[0] + tf.range(height), axis=1, batch_dims=1)
        pixels = tf.gather(padded, offsets[1] + tf.range(width), axis=2, batch_dims=1)
    return pixels
