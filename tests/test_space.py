"""From a search space to configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from fmnist_sweep import config
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.schema import AUTO, BLOCK_KEYS, TRAIN_KEYS, Domain, Scalar, SweepConfig
from fmnist_sweep.space import Endless, RandomSuggest, Sizes, Suggest, configurations, sample
from tests.strategies import CALM

SHIPPED = {name: config.load(name)[1] for name in config.names()}
SWEEPS = st.sampled_from(sorted(SHIPPED)).map(SHIPPED.__getitem__)
SHAPE = (28, 28, 1)
EVERYTHING = """
depth = { low = 0, high = 4 }
filters = { choices = [8, 16], per = "block" }
kernel_size = { choices = [1, 3, 5, 7] }
convs = { low = 1, high = 3, per = "block" }
pooling = { choices = ["max", "average", "none"], per = "block" }
dropout = { low = 0.0, high = 0.75, per = "block" }
pool_after = { choices = ["first", "last"] }
cutout = { choices = [0, 6] }
batch_norm = { choices = ["none", "before_activation"] }
bn_dense = { choices = [false, true] }
bn_logits = { choices = [false, true] }
head = { choices = ["flatten", "global_average"] }
dense_units = { choices = [0, 16] }
dense_dropout = { low = 0.0, high = 0.5, step = 0.25 }
optimizer = { choices = ["adam", "adamw", "sgd"] }
learning_rate = { low = 0.0001, high = 0.1, log = true }
weight_decay = { low = 0.0001, high = 0.1, log = true }
momentum = { low = 0.0, high = 0.9 }
batch_size = { low = 32, high = 128, step = 32 }
"""


def sweep(text: str) -> SweepConfig:
    return config.parse(f'title = "t"\n[space]\n{text}', "my.toml")


def draw(of: SweepConfig, suggest: Suggest, shape: tuple[int, int, int] = SHAPE) -> tuple[ArchSpec, TrainSpec]:
    return sample(of, suggest, input_shape=shape, classes=10)


def every(of: SweepConfig) -> list[tuple[ArchSpec, TrainSpec, dict[str, Scalar]]]:
    return list(configurations(of, input_shape=SHAPE, classes=10))


class Recording(RandomSuggest):
    """Notes what it was asked for, and answered."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.asked: list[str] = []

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        self.asked.append(name)
        return super().choice(name, choices)

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        self.asked.append(name)
        return super().whole(name, low, high, step, log)

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        self.asked.append(name)
        return super().real(name, low, high, step, log)


def within(value: Any, entry: Any, place: int = 0) -> bool:
    """Whether a value is one that an entry of the space allows."""
    if isinstance(entry, list):
        return bool(value == entry[place])
    if not isinstance(entry, Domain):
        return bool(value == entry)
    if entry.choices is not None:
        return value in entry.choices
    assert entry.low is not None
    assert entry.high is not None
    turns = (value - entry.low) / (entry.step or (1 if isinstance(value, int) else value - entry.low or 1))
    return bool(entry.low <= value <= entry.high and abs(turns - round(turns)) < 1e-9)


def check(of: SweepConfig, arch: ArchSpec, train: TrainSpec) -> None:
    """Every value is of its domain, or off where it can't matter."""
    for key, entry in of.space.items():
        if key in BLOCK_KEYS:
            for place, block in enumerate(arch.blocks):
                off = key in ("pooling", "pool_after") and block.pooling == "none"
                off = off or (key == "pool_after" and block.convs == 1)
                assert off or within(getattr(block, key), entry, place)
        elif key in TRAIN_KEYS:
            owner = {"weight_decay": "adamw", "momentum": "sgd"}.get(key, train.optimizer)
            assert (
                entry == AUTO or within(getattr(train, key), entry)
                if owner == train.optimizer
                else getattr(train, key) == 0
            )
        else:
            units = arch.dense[0] if arch.dense else 0
            value = {"depth": len(arch.blocks), "dense_units": units}.get(key)
            value = getattr(arch, key) if value is None else value
            off = not units if key == "dense_dropout" else not arch.blocks or arch.batch_norm == "none"
            assert within(value, entry) or (off and value in (0.0, False, "flatten"))


@CALM
@given(SWEEPS | st.just(sweep(EVERYTHING)), st.integers(0))
def test_draws_are_valid_and_of_their_domains(of: SweepConfig, seed: int) -> None:
    for suggest in (RandomSuggest(seed), Sizes(seed)) if of.study.sampler == "grid" else (RandomSuggest(seed),):
        check(of, *draw(of, suggest))


@CALM
@given(SWEEPS | st.just(sweep(EVERYTHING)), st.integers(0))
def test_the_same_seed_draws_the_same(of: SweepConfig, seed: int) -> None:
    assert draw(of, RandomSuggest(seed)) == draw(of, RandomSuggest(seed))


@CALM
@given(st.integers(0))
def test_what_cannot_matter_is_not_drawn(seed: int) -> None:
    suggest = Recording(seed)
    arch, train = draw(sweep(EVERYTHING), suggest)
    asked = set(suggest.asked)
    assert len(asked) == len(suggest.asked)
    assert {name for name in asked if name.startswith("filters_")} == {
        f"filters_{place}" for place, _ in enumerate(arch.blocks, start=1)
    }
    dense, normalised = bool(arch.dense), arch.batch_norm != "none"
    for name, matters in {
        "head": bool(arch.blocks),
        "kernel_size": bool(arch.blocks),
        "pool_after": any(block.convs > 1 and block.pooling != "none" for block in arch.blocks),
        "dense_dropout": dense,
        "bn_dense": dense and normalised,
        "bn_logits": normalised,
        "weight_decay": train.optimizer == "adamw",
        "momentum": train.optimizer == "sgd",
    }.items():
        if arch.blocks or not name.startswith("bn_"):  # without a block they decide whether there is any BatchNorm
            assert (name in asked) == matters, name


@CALM
@given(
    SWEEPS | st.just(sweep(EVERYTHING)),
    st.sampled_from([(7, 7, 1), (8, 8, 3), (1, 1, 1), (2, 40, 1)]),
    st.integers(1, 4),
    st.integers(0),
)
def test_small_images_never_fail(of: SweepConfig, shape: tuple[int, int, int], depth: int, seed: int) -> None:
    of = of.changed(depth=depth, filters=8)
    arch, _ = draw(of, RandomSuggest(seed), shape)
    assert (arch.input_shape, len(arch.blocks)) == (shape, depth)


def test_the_seed_of_the_recipe() -> None:
    for text, seed in (("", 7), ("seed = 3", 3)):
        _, train = sample(sweep(text), RandomSuggest(0), input_shape=SHAPE, classes=10, seed=7)
        assert train.seed == seed


def test_a_list_gives_each_block_its_own() -> None:
    of = sweep('depth = { choices = [2, 3] }\nfilters = [8, 16, 32]\npooling = ["none", "max", "average"]')
    for arch, _, _ in every(of):
        assert [block.filters for block in arch.blocks] == [8, 16, 32][: len(arch.blocks)]
        assert [block.pooling for block in arch.blocks] == ["none", "max", "average"][: len(arch.blocks)]


def test_a_case_fixes_its_keys_and_leaves_the_rest_to_the_space() -> None:
    of = sweep(
        "dense_units = { choices = [4, 8] }\nepochs = 2\n[cases.short]\nepochs = 1\n[cases.wide]\ndense_units = 64"
    )
    drawn = [(found["case"], arch.dense[0], train.epochs) for arch, train, found in every(of)]
    assert drawn == [("short", 4, 1), ("short", 8, 1), ("wide", 64, 2)]


# Listing a whole space


def test_a_list_is_complete_and_has_no_repeats() -> None:
    of = sweep(
        """
        depth = { low = 1, high = 2 }
        filters = { choices = [8, 16], per = "block" }
        batch_norm = { choices = ["none", "after_activation"] }
        dense_units = { choices = [0, 4] }
        dense_dropout = { low = 0.0, high = 0.5, step = 0.25 }
        """
    )
    listed = [fingerprint(arch, train) for arch, train, _ in every(of)]
    assert len(listed) == len(set(listed)) == (2 + 4) * 2 * (1 + 3)
    assert set(listed) == {fingerprint(*draw(of, RandomSuggest(seed))) for seed in range(1000)}
    for arch, train, drawn in every(of):
        check(of, arch, train)
        assert [drawn[f"filters_{place}"] for place in range(1, len(arch.blocks) + 1)] == [
            b.filters for b in arch.blocks
        ]


def test_a_space_without_choices_has_one_configuration() -> None:
    assert [drawn for *_, drawn in every(sweep("depth = 2"))] == [{}]


@pytest.mark.parametrize("rate", ["low = 0.001, high = 0.1", "low = 0.001, high = 0.1, log = true"])
def test_a_continuous_range_cannot_be_listed(rate: str) -> None:
    of = sweep(f"learning_rate = {{ {rate} }}")
    with pytest.raises(Endless, match="learning_rate"):
        next(configurations(of, input_shape=SHAPE, classes=10))
    with pytest.raises(Endless):
        draw(of, Sizes(0))


def test_sizes_of_what_was_drawn() -> None:
    sizes = Sizes(0)
    draw(sweep("depth = { low = 1, high = 4 }\nbatch_norm = { choices = ['none'] }"), sizes)
    assert sizes.sizes == [4, 1]


@pytest.mark.filterwarnings("ignore:The distribution is specified by")
@pytest.mark.parametrize(
    "ends", [(0.0, 0.5, 0.3), (0.0, 0.5, 0.125), (0.1, 0.7, 0.2), (0.0, 0.3, 0.1), (0.0, 0.35, 0.1)]
)
def test_steps_stay_within_the_range(ends: tuple[float, float, float]) -> None:
    low, high, step = ends
    of = sweep(f"dropout = {{ low = {low}, high = {high}, step = {step} }}")
    listed = [arch.blocks[0].dropout for arch, *_ in every(of)]
    optunas = FloatDistribution(low, high, step=step)
    assert all(optunas._contains(value) for value in listed)
    assert listed == pytest.approx([value for value in (low + step * turn for turn in range(9)) if value < high + 1e-9])
    for kind in (RandomSuggest, Sizes):
        assert {draw(of, kind(seed))[0].blocks[0].dropout for seed in range(99)} == set(listed)


def test_whole_numbers_of_a_log_range_are_drawn_evenly_on_its_scale() -> None:
    suggest = RandomSuggest(0)
    drawn = [suggest.whole("units", 1, 1000, 1, True) for _ in range(3000)]
    assert {min(drawn), max(drawn)} <= set(range(1, 1001))
    by_decade = [sum(low <= value < 10 * low for value in drawn) for low in (1, 10, 100)]
    assert min(by_decade) > 700


@pytest.mark.parametrize(("depth", "nets"), [(3, 2), (4, 1)])
def test_a_map_of_one_pixel_is_its_own_average(depth: int, nets: int) -> None:
    text = f'title = "heads"\n[space]\ndepth = {depth}\nhead = {{ choices = ["flatten", "global_average"] }}'
    assert len(drawn_of(text)) == nets


@pytest.mark.parametrize(("pooling", "nets"), [("max", 2), ("none", 1)])
def test_where_nothing_is_pooled_nothing_is_behind_it(pooling: str, nets: int) -> None:
    text = f"""
        title = "placements"
        [space]
        pooling = "{pooling}"
        batch_norm = {{ choices = ["before_activation", "after_pooling"] }}
    """
    assert len(drawn_of(text)) == nets


def drawn_of(text: str) -> set[ArchSpec]:
    of = config.parse(text, "one name")
    return {sample(of, RandomSuggest(seed), input_shape=(28, 28, 1), classes=10)[0] for seed in range(40)}
