"""For the property-based tests: random nets and recipes, all of them valid, and random TOML, most of it not."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, get_args

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fmnist_sweep.arch import (
    KERNEL_SIZES,
    MAX_BLOCKS,
    MAX_FILTERS,
    MIN_FILTERS,
    ArchSpec,
    BatchNorm,
    BlockSpec,
    Head,
    Optimizer,
    Pooling,
    Precision,
    Schedule,
    TrainSpec,
)
from fmnist_sweep.schema import SPACE_KEYS

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that are busy with something else."""

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
DROPOUT = st.just(0.0) | st.floats(0.0, 1.0, exclude_max=True)


def of(literal: Any) -> st.SearchStrategy[Any]:
    """One of the values of a ``Literal``."""
    return st.sampled_from(get_args(literal))


def blocks(pooling: st.SearchStrategy[Any]) -> st.SearchStrategy[BlockSpec]:
    """One block."""
    return st.builds(
        BlockSpec,
        filters=st.integers(MIN_FILTERS, MAX_FILTERS),
        kernel_size=st.sampled_from(KERNEL_SIZES),
        convs=st.integers(1, 3),
        pool_after=st.sampled_from(["last", "first"]),
        pooling=pooling,
        dropout=DROPOUT,
    )


@st.composite
def archs(draw: st.DrawFn) -> ArchSpec:
    """One net."""
    shape = draw(SHAPES)
    left = min(shape[:2])
    chosen: list[BlockSpec] = []
    for _ in range(draw(st.integers(0, MAX_BLOCKS))):
        chosen.append(draw(blocks(of(Pooling) if left > 1 else st.just("none"))))
        left = left if chosen[-1].pooling == "none" else left // 2
    batch_norm = draw(of(BatchNorm))
    flags = st.booleans() if batch_norm != "none" else st.just(False)
    return ArchSpec(
        input_shape=shape,
        classes=draw(st.integers(2, 1000)),
        blocks=tuple(chosen),
        batch_norm=batch_norm,
        bn_dense=draw(flags),
        bn_logits=draw(flags),
        head=draw(of(Head)) if chosen else "flatten",
        dense=tuple(draw(st.lists(st.integers(1, 8192), max_size=3))),
        dense_dropout=draw(DROPOUT),
    )


@st.composite
def trains(draw: st.DrawFn) -> TrainSpec:
    """One recipe."""
    optimizer = draw(of(Optimizer))
    return TrainSpec(
        optimizer=optimizer,
        learning_rate=draw(st.floats(1e-8, 100.0)),
        schedule=draw(of(Schedule)),
        batch_size=draw(st.integers(1, 65_536)),
        epochs=draw(st.integers(1, 10_000)),
        flip=draw(st.booleans()),
        cutout=draw(st.integers(0, 64)),
        shift=draw(st.integers(0, 64)),
        label_smoothing=draw(st.floats(0.0, 0.9)),
        weight_decay=draw(st.floats(0.0, 10.0)) if optimizer == "adamw" else 0.0,
        momentum=draw(DROPOUT) if optimizer == "sgd" else 0.0,
        precision=draw(of(Precision)),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


def toml(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if isinstance(value, (float, date)) else json.dumps(value, ensure_ascii=False)


KEYS = st.sampled_from(["value", "blocks", "domain", "int", "choices", "low", "step", *SPACE_KEYS]) | st.text()
GARBAGE = st.recursive(
    st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)
