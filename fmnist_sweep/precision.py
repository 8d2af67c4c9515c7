"""Whether bfloat16 pays on this machine: a probe on one of a sweep's own nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import tensorflow as tf

from fmnist_sweep.arch import ArchSpec, Precision, TrainSpec
from fmnist_sweep.data import Split
from fmnist_sweep.train import Training

_ROUNDS = 5
_BATCHES = 2


def gain(arch: ArchSpec, train: TrainSpec) -> float:
    """How many times as fast as in float32 a net trains in mixed_bfloat16, on one thread.

    For a fresh process, whose TensorFlow has not run anything yet. Some processors do bfloat16 in hardware, and on the
    others it is slower.

    Args:
        arch: The net.
        train: Its recipe, of whichever precision.

    Returns:
        The median over a few rounds, in which both take turns.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    count = (_ROUNDS + 1) * _BATCHES * train.batch_size
    pixels = np.random.default_rng(0).integers(0, 256, (count, *arch.input_shape), dtype=np.uint8)
    labels = np.zeros(count, np.uint8)
    split = Split(pixels, labels, pixels[:1], labels[:1])
    kinds: tuple[Precision, Precision] = ("float32", "mixed_bfloat16")
    sides = [Training(arch, replace(train, precision=kind, epochs=1), split) for kind in kinds]
    plain, quick = in_turns(sides, _ROUNDS)
    return median(a / b for a, b in zip(plain, quick, strict=True))


def in_turns(sides: Sequence[Training], rounds: int) -> list[list[float]]:
    """Seconds that each of several trainings took in each round.

    Each trains a whole epoch in ``rounds`` + 1 stretches, of which the first, that builds the graph, does not count.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(1, rounds + 2):
        for side, spent in zip(sides, seconds, strict=True):
            before = side.progress.train_s
            side.advance(turn / (rounds + 1))
            spent.append(side.progress.train_s - before)
    return [spent[1:] for spent in seconds]
