"""Sizes and costs of a net, by arithmetic alone: no TensorFlow is imported here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec

FLOAT_BYTES = 4
_FLOPS_PER_S = 1.43e11
_ACTIVATIONS_PER_S = 4.95e8
_PARAMETERS_PER_S = 2.74e8


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer holds and does for one image.

    Attributes:
        name: Kind of the layer.
        output_shape: Without the batch axis.
        parameters: Trainable and not, as Keras' ``count_params`` has it.
        flops: Two for each multiply-add of a convolution or dense layer; 0 for the others.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int

    @property
    def elements(self) -> int:
        """Values in the layer's output for one image."""
        return math.prod(self.output_shape)


@dataclass(frozen=True, slots=True)
class NetCost:
    """The whole net: see ``cost``.

    Attributes:
        parameters: Trainable and not.
        flops: Of one forward pass over one image.
        activation_elements: Values in all layers' outputs for one image.
    """

    parameters: int
    flops: int
    activation_elements: int

    def training_bytes(self, train: TrainSpec) -> int:
        """Rough peak of training, in bytes: weights, gradients, optimizer slots, twice the activations of a batch."""
        slots = {"adam": 2, "adamw": 2, "sgd": 1 if train.momentum else 0}[train.optimizer]
        state = self.parameters * (2 + slots) * FLOAT_BYTES
        return state + 2 * self.activation_elements * train.batch_size * FLOAT_BYTES


def layers(arch: ArchSpec) -> Iterator[LayerCost]:
    """Every layer with a cost or a shape of its own, from input to softmax."""
    height, width, channels = arch.input_shape
    for block in arch.blocks:
        for turn in range(1, block.convs + 1):
            weights = block.kernel_size**2 * channels * block.filters
            channels = block.filters
            yield LayerCost("conv", (height, width, channels), weights + channels, 2 * weights * height * width)
            for name in _behind(arch, block, pooled=turn == block.pooled):
                if name == "pool":
                    height, width = height // 2, width // 2
                yield LayerCost(name, (height, width, channels), 4 * channels if name == "batch_norm" else 0, 0)
        if block.dropout:
            yield LayerCost("dropout", (height, width, channels), 0, 0)
    units = channels if arch.head == "global_average" else height * width * channels
    yield LayerCost(arch.head, (units,), 0, 0)
    for hidden in arch.dense:
        yield LayerCost("dense", (hidden,), units * hidden + hidden, 2 * units * hidden)
        if arch.bn_dense:
            yield LayerCost("batch_norm", (hidden,), 4 * hidden, 0)
        yield LayerCost("relu", (hidden,), 0, 0)
        if arch.dense_dropout:
            yield LayerCost("dropout", (hidden,), 0, 0)
        units = hidden
    yield LayerCost("logits", (arch.classes,), units * arch.classes + arch.classes, 2 * units * arch.classes)
    if arch.bn_logits:
        yield LayerCost("batch_norm", (arch.classes,), 4 * arch.classes, 0)
    yield LayerCost("softmax", (arch.classes,), 0, 0)


def _behind(arch: ArchSpec, block: BlockSpec, pooled: bool) -> list[str]:
    """The layers between a convolution and what follows, in the model's own order; see ``model.build``."""
    pool = ["pool"] if pooled else []
    if arch.batch_norm == "after_pooling":
        return [*pool, "batch_norm", "relu"]
    if arch.batch_norm == "after_activation":
        return ["relu", "batch_norm", *pool]
    norm = ["batch_norm"] if arch.batch_norm == "before_activation" else []
    return [*norm, *pool, "relu"] if block.pooling == "max" else [*norm, "relu", *pool]


@lru_cache(maxsize=4096)
def cost(arch: ArchSpec) -> NetCost:
    """Adds up the layers of ``arch``."""
    all_layers = list(layers(arch))
    return NetCost(
        parameters=sum(layer.parameters for layer in all_layers),
        flops=sum(layer.flops for layer in all_layers),
        activation_elements=sum(layer.elements for layer in all_layers),
    )


def work(arch: ArchSpec, train: TrainSpec) -> tuple[float, float, float]:
    """What one image of training takes: FLOPs (three passes' worth of the forward pass's), memory traffic (values in
    the layers' outputs), and its share of the optimizer's pass over the parameters."""
    found = cost(arch)
    return 3.0 * found.flops, float(found.activation_elements), found.parameters / train.batch_size


def image_s(arch: ArchSpec, train: TrainSpec) -> float:
    """Seconds that one image of training takes on one core of the machine that the constants come from.

    The model is linear in ``work``. Its constants were fitted to 40 nets of ``default``, trained in float32 on two
    cores of an Intel Xeon; it meets 82 % of them within a factor of 1.25. ``make bench ARGS="pace"`` fits them anew.
    """
    rates = (_FLOPS_PER_S, _ACTIVATIONS_PER_S, _PARAMETERS_PER_S)
    return sum(amount / rate for amount, rate in zip(work(arch, train), rates, strict=True))
