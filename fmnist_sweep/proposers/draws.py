"""Random draws that note what they drew, and the search for a configuration that is new."""

from __future__ import annotations

import random
from collections.abc import Container, Mapping, Sequence
from typing import Any

from fmnist_sweep import space
from fmnist_sweep.proposers.base import Excess, Proposal, Task
from fmnist_sweep.schema import Scalar

_KEPT = 0.7  # of the values of a configuration that another is to be like
_TRIES = 2_000


def drawn(task: Task, suggest: Draws) -> Proposal:
    """One of the space's configurations."""
    arch, train = space.sample(task.config, suggest, input_shape=task.input_shape, classes=task.classes, seed=task.seed)
    return Proposal(arch, train, suggest.drawn)


def fresh(task: Task, seed: str, known: Container[str], excess: Excess) -> Proposal | None:
    """A random configuration within the limits whose fingerprint is not known.

    Returns:
        None after two thousand draws in vain: then less than about one in a thousand is left.
    """
    for turn in range(_TRIES):
        proposal = drawn(task, Draws(f"{seed}-{turn}"))
        if excess(proposal) <= 0 and proposal.fingerprint not in known:
            return proposal
    return None


class Draws:
    """Notes what it draws: at random, or most of it as ``like`` has it."""

    def __init__(self, seed: str, like: Mapping[str, Any] | None = None) -> None:
        self._draws = space.RandomSuggest(seed)
        self._coin = random.Random(f"{seed}-kept")
        self._like = like or {}
        self.drawn: dict[str, Any] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """See ``Suggest``."""
        return self._noted(name, self._draws.choice(name, choices))  # type: ignore[no-any-return]

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        """See ``Suggest``."""
        return self._noted(name, self._draws.whole(name, low, high, step, log))  # type: ignore[no-any-return]

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        """See ``Suggest``."""
        return self._noted(name, self._draws.real(name, low, high, step, log))  # type: ignore[no-any-return]

    def _noted(self, name: str, value: Any) -> Any:
        kept = name in self._like and self._coin.random() < _KEPT
        self.drawn[name] = self._like[name] if kept else value
        return self.drawn[name]
