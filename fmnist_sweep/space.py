"""From a search space to one configuration: the same walk for Optuna, KerasTuner, the grid and the preview."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from fmnist_sweep import arithmetic
from fmnist_sweep.arch import ArchSpec, BlockSpec, Head, TrainSpec
from fmnist_sweep.schema import AUTO, BLOCK_KEYS, TRAIN_KEYS, WHOLE_KEYS, Domain, LimitsSection, Scalar, SweepConfig


class Suggest(Protocol):
    """Who draws the values; each name is asked for at most once in a walk."""

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """One of ``choices``."""
        ...

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        """A whole number of ``low`` to ``high``."""
        ...

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        """A number of ``low`` to ``high``."""
        ...


_DEFAULTS: dict[str, Scalar] = {
    "depth": 1,
    "filters": 32,
    "kernel_size": 3,
    "convs": 1,
    "pooling": "max",
    "pool_after": "last",
    "dropout": 0.0,
    "batch_norm": "none",
    "bn_dense": False,
    "bn_logits": False,
    "head": "flatten",
    "dense_units": 0,
    "dense_dropout": 0.0,
}


def sample(
    config: SweepConfig, suggest: Suggest, *, input_shape: tuple[int, int, int], classes: int, seed: int = 0
) -> tuple[ArchSpec, TrainSpec]:
    """Draws one configuration; a key that can't matter (dropout of a layer that isn't there) is not drawn.

    Args:
        config: The sweep.
        suggest: Who draws.
        input_shape: Height, width, channels of the images.
        classes: Of the data set.
        seed: For the recipe, where the space has no seed of its own.
    """
    walk = _Walk(config, suggest)
    depth = int(walk.value("depth"))
    batch_norm = walk.value("batch_norm")
    normalised = batch_norm != "none"
    head: Head = walk.value("head") if depth else "flatten"
    units = int(walk.value("dense_units"))
    blocks = []
    height, width, _ = input_shape
    for place in range(1, depth + 1):
        values: dict[str, Any] = {key: walk.value(key, place) for key in BLOCK_KEYS if key != "pool_after"}
        if min(height, width) < 2:  # nothing left to pool
            values["pooling"] = "none"
        elif values["pooling"] != "none":
            height, width = height // 2, width // 2
        if values["convs"] > 1 and values["pooling"] != "none":
            values["pool_after"] = walk.value("pool_after", place)
        blocks.append(BlockSpec(**values))
    # One net has one name: a map of one pixel is its own average, and where nothing is pooled nothing is behind it.
    if (height, width) == (1, 1):
        head = "flatten"
    if batch_norm == "after_pooling" and not any(block.pooled for block in blocks):
        batch_norm = "before_activation"
    bn_dense = bool(normalised and units and walk.value("bn_dense"))
    bn_logits = bool(normalised and walk.value("bn_logits"))
    arch = ArchSpec(
        input_shape=input_shape,
        classes=classes,
        blocks=tuple(blocks),
        batch_norm=batch_norm if depth or bn_dense or bn_logits else "none",
        bn_dense=bn_dense,
        bn_logits=bn_logits,
        head=head,
        dense=(units,) if units else (),
        dense_dropout=float(walk.value("dense_dropout")) if units else 0.0,
    )
    return arch, _recipe(walk, seed)


def _recipe(walk: _Walk, seed: int) -> TrainSpec:
    values: dict[str, Any] = {"seed": seed}
    for key in TRAIN_KEYS:
        needs = {"weight_decay": "adamw", "momentum": "sgd"}.get(key)
        if key in walk and (needs is None or values.get("optimizer", "adam") == needs):
            values[key] = walk.value(key)
    if values.get("precision") == AUTO:  # not probed yet: the one that every machine has
        del values["precision"]
    return TrainSpec.from_dict(values)


def excess(arch: ArchSpec, limits: LimitsSection) -> float:
    """By what share of a limit a net is over it, of several the worst; 0 or below if it keeps to all."""
    cost = arithmetic.cost(arch)
    pairs = ((cost.parameters, limits.parameters), (cost.flops, limits.flops))
    return max((found / limit - 1 for found, limit in pairs if limit is not None), default=0.0)


class _Walk:
    """Values of one configuration, each drawn when it is first needed."""

    def __init__(self, config: SweepConfig, suggest: Suggest) -> None:
        self._suggest = suggest
        self._case: dict[str, Scalar] = {}
        self._space = config.space
        self._drawn: dict[str, Scalar] = {}
        if config.cases:
            self._case = config.cases[str(suggest.choice("case", list(config.cases)))]

    def __contains__(self, key: str) -> bool:
        return key in self._case or key in self._space

    def value(self, key: str, place: int | None = None) -> Any:
        """The value of ``key``, for block ``place`` where blocks draw their own."""
        if key in self._case:
            return self._case[key]
        domain = self._space.get(key, _DEFAULTS.get(key))
        if isinstance(domain, list):
            return domain[(place or 1) - 1]
        if not isinstance(domain, Domain):
            return domain
        name = f"{key}_{place}" if domain.per == "block" and place else key
        if name not in self._drawn:
            self._drawn[name] = self._draw(name, domain, key in WHOLE_KEYS)
        return self._drawn[name]

    def _draw(self, name: str, domain: Domain, whole: bool) -> Scalar:
        if domain.choices is not None:
            return self._suggest.choice(name, domain.choices)
        assert domain.low is not None
        assert domain.high is not None
        if whole:
            return self._suggest.whole(name, int(domain.low), int(domain.high), int(domain.step or 1), domain.log)
        return self._suggest.real(name, float(domain.low), float(domain.high), domain.step, domain.log)


class RandomSuggest:
    """Uniform draws from a seeded generator, without Optuna."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:  # noqa: ARG002
        """See ``Suggest``."""
        return self._random.choice(choices)

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:  # noqa: ARG002
        """See ``Suggest``."""
        if log:  # each number has the share of the scale that is nearest to it
            exact = math.exp(self._random.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(exact), low), high)
        return self._random.choice(range(low, high + 1, step))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        """See ``Suggest``."""
        if step:
            return self._random.choice(_steps(name, low, high, step))
        return low * (high / low) ** self._random.random() if log else self._random.uniform(low, high)


class Sizes:
    """Random draws that note how many values each had to choose from."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self.sizes: list[int] = []

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:  # noqa: ARG002
        """See ``Suggest``."""
        self.sizes.append(len(choices))
        return self._random.choice(choices)

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:  # noqa: ARG002
        """See ``Suggest``."""
        return int(self.choice(name, range(low, high + 1, step)))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:  # noqa: ARG002
        """See ``Suggest``.

        Raises:
            Endless: The range has no step.
        """
        return float(self.choice(name, _steps(name, low, high, step)))


class Endless(Exception):  # noqa: N818
    """The space has a continuous range: it can't be listed."""


def endless(config: SweepConfig) -> str:
    """The first key whose values can't be listed, as a range without a step; "" if there is none."""
    for key, domain in config.space.items():
        fixed = config.cases and all(key in case for case in config.cases.values())
        ranged = isinstance(domain, Domain) and domain.choices is None and domain.step is None
        if ranged and key not in WHOLE_KEYS and not fixed:
            return key
    return ""


def configurations(
    config: SweepConfig, *, input_shape: tuple[int, int, int], classes: int, seed: int = 0
) -> Iterator[tuple[ArchSpec, TrainSpec, dict[str, Scalar]]]:
    """Every configuration of a space without continuous ranges, in the file's order.

    Yields:
        The specs and the values drawn, by name.

    Raises:
        Endless: A range without a step is in the way.
    """
    path: list[int] = []
    while True:
        suggest = _Replay(path)
        arch, train = sample(config, suggest, input_shape=input_shape, classes=classes, seed=seed)
        yield arch, train, suggest.drawn
        path = suggest.taken
        while path and path[-1] + 1 >= suggest.sizes[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


class _Replay:
    """Draws along a given path of indices, then the first value of everything after it."""

    def __init__(self, path: list[int]) -> None:
        self._path = path
        self.taken: list[int] = []
        self.sizes: list[int] = []
        self.drawn: dict[str, Scalar] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        place = len(self.taken)
        index = self._path[place] if place < len(self._path) else 0
        self.taken.append(index)
        self.sizes.append(len(choices))
        self.drawn[name] = choices[index]
        return choices[index]

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:  # noqa: ARG002
        return int(self.choice(name, range(low, high + 1, step)))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:  # noqa: ARG002
        return float(self.choice(name, _steps(name, low, high, step)))


def _steps(name: str, low: float, high: float, step: float | None) -> tuple[float, ...]:
    if not step:
        raise Endless(name)
    return steps(low, high, step)


@lru_cache(maxsize=256)
def steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """The values of a stepped range, ascending: as the file's decimals add up (0.3 and not 0.30000000000000004), and
    none above ``high``, so that each is one for Optuna too."""
    first, each = Decimal(str(low)), Decimal(str(step))
    count = int((Decimal(str(high)) - first) // each) + 1
    return tuple(float(first + each * turn) for turn in range(count))
