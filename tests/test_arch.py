"""Nets and recipes as values: what they refuse, how they are written down, and what names them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec, contract_params, fingerprint
from fmnist_sweep.errors import SpecError, UsageError
from tests.strategies import CALM, archs, trains

SHAPE = (28, 28, 1)
SHARE = "a number from 0 to below 1"


def net(*blocks: BlockSpec, **changes: Any) -> ArchSpec:
    return ArchSpec(**{"input_shape": SHAPE, "classes": 10, "blocks": blocks, **changes})


def refusal(kind: type, values: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        kind(**values)
    assert isinstance(caught.value, UsageError)
    return str(caught.value)


# What is refused: each message names the field, the value and the valid ones


@pytest.mark.parametrize(
    ("field", "values", "valid"),
    [
        ("filters", (7, 257, 8.0, "8", True, None), "a whole number from 8 to 256"),
        ("kernel_size", (0, 2, 9, "3", 3.0, True), "1, 3, 5, 7"),
        ("convs", (0, 4), "a whole number from 1 to 3"),
        ("pooling", ("min", None, []), "'max', 'average', 'none'"),
        ("pool_after", ("second", 1, None), "'last', 'first'"),
        ("dropout", (-0.1, 1.0, 1, float("nan"), float("inf"), 10**400, "0.5", True), SHARE),
    ],
)
def test_blocks(field: str, values: tuple[Any, ...], valid: str) -> None:
    for value in values:
        assert refusal(BlockSpec, {"filters": 8, field: value}) == f"{field} is {value!r}; valid: {valid}"


@pytest.mark.parametrize(
    ("field", "values", "valid"),
    [
        ("classes", (1, 100_001, 10.0, True), "a whole number from 2 to 100000"),
        ("batch_norm", ("before", True), "'none', 'before_activation', 'after_activation', 'after_pooling'"),
        ("bn_dense", ("yes", 1), "true, false"),
        ("bn_logits", (0, None), "true, false"),
        ("head", ("gap",), "'flatten', 'global_average'"),
        ("dense_dropout", (-1, 1.0), SHARE),
        ("input_shape", ((28, 28), ()), "(height, width, channels)"),
    ],
)
def test_nets(field: str, values: tuple[Any, ...], valid: str) -> None:
    for value in values:
        given_values = {"input_shape": SHAPE, "classes": 10, field: value}
        assert refusal(ArchSpec, given_values) == f"{field} is {value!r}; valid: {valid}"


@pytest.mark.parametrize(
    ("field", "values", "valid"),
    [
        ("optimizer", ("rmsprop",), "'adam', 'adamw', 'sgd'"),
        ("learning_rate", (0, 1e-9, 101, float("nan"), True, 10**400), "a number from 1e-08 to 100"),
        ("schedule", ("step",), "'constant', 'cosine', 'one_cycle'"),
        ("batch_size", (0, 65_537, 32.0), "a whole number from 1 to 65536"),
        ("epochs", (0, 10_001, False), "a whole number from 1 to 10000"),
        ("flip", (1, "true"), "true, false"),
        ("shift", (-1, 65), "a whole number from 0 to 64"),
        ("cutout", (-1, 65, 1.0), "a whole number from 0 to 64"),
        ("label_smoothing", (-0.1, 0.91), "a number from 0 to 0.9"),
        ("weight_decay", (-1, 11), "a number from 0 to 10"),
        ("momentum", (-0.1, 1.0), SHARE),
        ("precision", ("float16",), "'float32', 'mixed_bfloat16'"),
        ("seed", (-1, 2**31, 1.5), "a whole number from 0 to 2147483647"),
    ],
)
def test_recipes(field: str, values: tuple[Any, ...], valid: str) -> None:
    for value in values:
        assert refusal(TrainSpec, {field: value}) == f"{field} is {value!r}; valid: {valid}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"bn_dense": True},
            r"bn_dense .* batch_norm is 'none'; valid then: 'before_activation', 'after_activation', 'after_pooling'",
        ),
        ({"bn_logits": True}, r"bn_logits need .* batch_norm is 'none'"),
        ({"head": "global_average"}, r"head is 'global_average' but the net has no block .* valid then: 'flatten'"),
        ({"blocks": (BlockSpec(8),) * 5}, r"has 5 blocks; valid: 0 to 4"),
        ({"dense": (8,) * 4}, r"has 4 hidden dense layers; valid: 0 to 3"),
        ({"dense": (8, 0)}, r"dense units is 0; valid: a whole number from 1 to 8192"),
        ({"input_shape": (28, 0, 1)}, r"input width is 0; valid: a whole number from 1 to 4096"),
        ({"input_shape": (7, 28, 3), "blocks": (BlockSpec(8),) * 3}, r"block 3 .* 1x7 pixels.* 2x2.* images of 7x28"),
        ({"input_shape": (1, 1, 1), "blocks": (BlockSpec(8, pooling="average"),)}, r"block 1 would pool .* 1x1"),
    ],
)
def test_nets_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        net(**changes)


def test_pooling_down_to_one_pixel_is_the_limit() -> None:
    assert net(*(BlockSpec(8),) * 4, input_shape=(16, 31, 3))
    assert net(*(BlockSpec(8, pooling="none"),) * 4, input_shape=(1, 1, 1))


@pytest.mark.parametrize("field", ["weight_decay", "momentum"])
def test_what_belongs_to_another_optimizer(field: str) -> None:
    owner = {"weight_decay": "adamw", "momentum": "sgd"}[field]
    assert refusal(TrainSpec, {field: 0.5}) == f"{field} is 0.5 with optimizer 'adam'; valid: '{owner}'"
    assert TrainSpec.from_dict({"optimizer": owner, field: 0.5})


# Written down and read back


@CALM
@given(archs(), trains())
def test_a_round_trip_through_json(arch: ArchSpec, train: TrainSpec) -> None:
    again = ArchSpec.from_dict(json.loads(json.dumps(arch.to_dict())))
    assert again == arch
    assert hash(again) == hash(arch)
    assert TrainSpec.from_dict(json.loads(json.dumps(train.to_dict()))) == train
    assert fingerprint(again, train) == fingerprint(arch, train)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(SpecError, match=r"^ArchSpec has no 'colour'; valid: .*\bclasses\b"):
        ArchSpec.from_dict({**net().to_dict(), "colour": 1})
    with pytest.raises(SpecError, match=r"^BlockSpec has no 'stride'; valid: .*\bfilters\b"):
        ArchSpec.from_dict({**net().to_dict(), "blocks": [{"filters": 8, "stride": 2}]})
    with pytest.raises(SpecError, match=r"^TrainSpec has no 'lr'; valid: .*\blearning_rate\b"):
        TrainSpec.from_dict({"lr": 1})


# What names them


@CALM
@given(archs(), archs(), trains(), trains(), st.data())
def test_any_changed_field_changes_the_fingerprint(
    arch: ArchSpec, other: ArchSpec, train: TrainSpec, recipe: TrainSpec, data: st.DataObject
) -> None:
    assert (fingerprint(arch, train) == fingerprint(other, recipe)) == ((arch, train) == (other, recipe))
    pairs: tuple[tuple[Any, Any], ...] = (arch, other), (train, recipe)
    old, new = data.draw(st.sampled_from(pairs))
    field = data.draw(st.sampled_from(fields(old))).name
    assume(getattr(old, field) != getattr(new, field))
    try:
        changed = replace(old, **{field: getattr(new, field)})
    except SpecError:
        assume(False)
    pair = (changed, train) if old is arch else (arch, changed)
    assert fingerprint(*pair) != fingerprint(arch, train)


def test_equal_specs_have_equal_fingerprints_whatever_the_type_of_their_numbers() -> None:
    floats = net(BlockSpec(8, dropout=0.0), dense_dropout=0.0), TrainSpec(learning_rate=1.0)
    whole = net(BlockSpec(8, dropout=0), dense_dropout=0), TrainSpec(learning_rate=1)
    assert whole == floats
    assert fingerprint(*whole) == fingerprint(*floats)


def test_a_fingerprint_never_changes() -> None:
    cnn3 = net(BlockSpec(32), BlockSpec(64), BlockSpec(128), dense=(512,))
    assert fingerprint(cnn3, TrainSpec()) == "e513602431e0b5a0"


def test_what_is_pooled_where_there_is_no_choice_is_one_net() -> None:
    for values in ({"convs": 1}, {"convs": 3, "pooling": "none"}):
        assert BlockSpec(8, pool_after="first", **values) == BlockSpec(8, **values)
    assert [BlockSpec(8, convs=3, pool_after=place).pooled for place in ("first", "last")] == [1, 3]
    assert BlockSpec(8, convs=3, pooling="none").pooled == 0
    assert net(BlockSpec(8, convs=2, pool_after="first")).short == "1x conv 8 x2 pooled first"


def test_a_seed_is_all_that_with_seed_changes() -> None:
    train = TrainSpec(optimizer="sgd", momentum=0.9)
    assert train.with_seed(7) == replace(train, seed=7)


def test_the_parameters_of_the_contract() -> None:
    arch = net(
        *(BlockSpec(filters, dropout=0.25) for filters in (32, 64, 128)),
        batch_norm="before_activation",
        dense=(256,),
        dense_dropout=0.5,
    )
    contract = {
        "depth": 3,
        "filters": "32-64-128",
        "kernel_size": 3,
        "batch_norm": "before_activation",
        "dropout": 0.25,
        "dense_units": 256,
        "dense_dropout": 0.5,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "batch_size": 64,
        "epochs": 4,
        "seed": 3,
    }
    params = contract_params(arch, TrainSpec(batch_size=64, epochs=4, seed=3))
    assert {name: params[name] for name in contract} == contract
    assert contract_params(net(BlockSpec(8, 5), BlockSpec(8, 3), dense=(64, 32)), TrainSpec())["kernel_size"] == "5-3"
    bare = contract_params(net(), TrainSpec())
    assert (bare["depth"], bare["filters"], bare["dropout"], bare["dense_units"]) == (0, "none", 0.0, 0)


@pytest.mark.parametrize(
    ("arch", "short"),
    [
        (net(), "no conv"),
        (net(dense=(128, 64)), "no conv · dense 128-64"),
        (net(BlockSpec(32), BlockSpec(64), dense=(512,)), "2x conv 32-64 · dense 512"),
        (net(BlockSpec(8, 5, 2, "average"), head="global_average"), "1x conv 8 k5 x2 avg · gap"),
        (net(BlockSpec(8), batch_norm="after_activation"), "1x conv 8 · bn after"),
        (net(BlockSpec(8), batch_norm="after_pooling"), "1x conv 8 · bn after pooling"),
        (net(BlockSpec(8), batch_norm="before_activation", bn_logits=True), "1x conv 8 · bn before+logits"),
        (net(*(BlockSpec(8, dropout=0.25),) * 2), "2x conv 8-8 · drop .25"),
        (net(*(BlockSpec(8, dropout=rate) for rate in (0.0, 0.0, 0.5))), "3x conv 8-8-8 · drop 0-0-.5"),
        (net(*(BlockSpec(8, dropout=rate) for rate in (0.25, 0.5, 0.25))), "3x conv 8-8-8 · drop .25-.5-.25"),
    ],
)
def test_short(arch: ArchSpec, short: str) -> None:
    assert arch.short == short
