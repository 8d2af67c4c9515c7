"""Random changes of training images, inside the graph, each image by its own draw."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def augmented(pixels: Any, draw: Any, *, flip: bool, shift: int, cutout: int = 0) -> Any:
    """Mirrors, moves and covers images; a pure function of its arguments.

    Args:
        pixels: float32 (batch, height, width, channels).
        draw: int64 (2,), the seed of this batch.
        flip: Mirror left to right, each image with probability one half.
        shift: Move by -shift to shift pixels down and right, each image by its own whole amounts;
            what moves in is black.
        cutout: Side in pixels of the square that is blackened in each image; its centre is any pixel, so that it may
            reach over the border (DeVries and Taylor, 2017).

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
    if cutout:
        height, width = pixels.shape[1], pixels.shape[2]
        centres = tf.random.stateless_uniform([batch, 2], draw + 2, dtype=tf.float32) * [float(height), float(width)]
        first = tf.cast(tf.floor(centres), tf.int32) - cutout // 2  # (batch, 2), the square's upper left pixel
        rows, columns = (
            tf.logical_and(place >= first[:, axis, None], place < first[:, axis, None] + cutout)
            for axis, place in ((0, tf.range(height)), (1, tf.range(width)))
        )
        covered = tf.logical_and(rows[:, :, None], columns[:, None, :])[..., None]
        pixels = tf.where(covered, tf.zeros([], pixels.dtype), pixels)
    return pixels
