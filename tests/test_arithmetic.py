"""Sizes and costs by arithmetic, against what Keras builds and what TensorFlow's graph computes."""

from __future__ import annotations

from typing import Any

import pytest

from fmnist_sweep import arithmetic, lab
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec

SHAPE = (28, 28, 1)
SMALL = (BlockSpec(8), BlockSpec(16))
NETS = {
    "no hidden layer": ArchSpec(SHAPE, 10),
    "dense alone": ArchSpec((5, 7, 3), 4, dense=(32, 16, 8), dense_dropout=0.5),
    "one block": ArchSpec(SHAPE, 10, (BlockSpec(8),)),
    "kernels of every size": ArchSpec(SHAPE, 10, tuple(BlockSpec(8, size) for size in (1, 3, 5, 7))),
    "several convolutions": ArchSpec(SHAPE, 10, (BlockSpec(8, convs=3), BlockSpec(16, 5, convs=2))),
    "each pooling": ArchSpec(SHAPE, 10, tuple(BlockSpec(8, pooling=how) for how in ("max", "average", "none"))),
    "dropout": ArchSpec(SHAPE, 10, (BlockSpec(8, dropout=0.25),), dense=(16,), dense_dropout=0.5),
    "BatchNorm before": ArchSpec(SHAPE, 10, SMALL, "before_activation", dense=(16,)),
    "BatchNorm after": ArchSpec(SHAPE, 10, SMALL, "after_activation", dense=(16,)),
    "pooled first": ArchSpec(
        SHAPE, 10, (BlockSpec(8, convs=3, pool_after="first"), BlockSpec(16, convs=2)), "before_activation"
    ),
    "BatchNorm after pooling": ArchSpec(SHAPE, 10, (BlockSpec(8, convs=2), *SMALL), "after_pooling", True, dense=(16,)),
    "average pooling": ArchSpec(SHAPE, 10, (BlockSpec(8, pooling="average"),), "before_activation"),
    "average, then BatchNorm": ArchSpec(SHAPE, 10, (BlockSpec(8, pooling="average"),), "after_pooling"),
    "BatchNorm everywhere": ArchSpec(SHAPE, 10, SMALL, "after_activation", True, True, dense=(16, 8)),
    "global average": ArchSpec(SHAPE, 10, SMALL, head="global_average", dense=(16,)),
    "odd sides and colour": ArchSpec((17, 31, 3), 100, (BlockSpec(8, 5), *SMALL), dense=(16,)),
    "down to one pixel": ArchSpec((16, 16, 1), 10, SMALL * 2),
    **{variant.name: variant.arch for variant in lab.variants(input_shape=SHAPE, classes=10)},
}


@pytest.fixture(scope="module", params=list(NETS.values()), ids=list(NETS))
def built(request: pytest.FixtureRequest) -> tuple[ArchSpec, Any]:
    from fmnist_sweep.model import build

    return request.param, build(request.param).model


@pytest.mark.slow
def test_parameters_are_those_of_keras(built: tuple[ArchSpec, Any]) -> None:
    arch, model = built
    assert arithmetic.cost(arch).parameters == model.count_params()


@pytest.mark.slow
def test_shapes_are_those_of_keras(built: tuple[ArchSpec, Any]) -> None:
    arch, model = built
    layers = list(arithmetic.layers(arch))
    assert [layer.output_shape for layer in layers] == [layer.output.shape[1:] for layer in model.layers[2:]]
    weighed = sorted(layer.count_params() for layer in model.layers)
    assert sorted(layer.parameters for layer in layers) == weighed[2:]  # less the input and the scaling, which have 0


@pytest.mark.slow
def test_flops_are_those_of_tensorflow(built: tuple[ArchSpec, Any]) -> None:
    import tensorflow as tf
    from tensorflow.python.framework import ops

    arch, model = built
    graph = tf.function(model).get_concrete_function(tf.TensorSpec((1, *arch.input_shape))).graph
    counted = [
        ops.get_stats_for_node_def(graph, node, "flops").value
        for node in graph.as_graph_def().node
        if node.op in ("Conv2D", "MatMul")
    ]
    assert len(counted) == sum(block.convs for block in arch.blocks) + len(arch.dense) + 1
    assert arithmetic.cost(arch).flops == sum(counted)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lab-cnn1", 804_554), ("lab-cnn3", 688_138), ("lab-cnn3-bn-as-intended", 691_122)],
)
def test_the_counts_of_the_labs_notebook(name: str, parameters: int) -> None:
    assert arithmetic.cost(NETS[name]).parameters == parameters


def test_flops_and_activations_by_hand() -> None:
    arch = ArchSpec((4, 4, 1), 2, (BlockSpec(8),))
    cost = arithmetic.cost(arch)
    assert cost.parameters == (9 * 8 + 8) + (2 * 2 * 8 * 2 + 2)
    assert cost.flops == 2 * (9 * 8 * 16) + 2 * (32 * 2)
    assert cost.activation_elements == 128 + 32 + 32 + 32 + 2 + 2


def test_training_memory_counts_weights_slots_and_activations() -> None:
    cost = arithmetic.NetCost(parameters=1000, flops=0, activation_elements=10)
    images = 2 * 10 * 32 * 4
    assert cost.training_bytes(TrainSpec()) == 4 * 4000 + images
    assert cost.training_bytes(TrainSpec(optimizer="adamw")) == 4 * 4000 + images
    assert cost.training_bytes(TrainSpec(optimizer="sgd")) == 2 * 4000 + images
    assert cost.training_bytes(TrainSpec(optimizer="sgd", momentum=0.9)) == 3 * 4000 + images
