"""The contract of a proposer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.config import SweepConfig

Ending = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try.

    Attributes:
        arch: The net.
        train: The recipe.
        drawn: The values drawn, by the space's names, plain JSON types.
    """

    arch: ArchSpec
    train: TrainSpec
    drawn: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """See ``arch.fingerprint``."""
        return fingerprint(self.arch, self.train)


Acceptable = Callable[[Proposal], bool]


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched: the sweep, the images it is for, and the seed of everything drawn."""

    config: SweepConfig
    input_shape: tuple[int, int, int]
    classes: int
    seed: int


class Proposer(Protocol):
    """Proposes configurations and learns from how they did. One thread uses it; nothing in it is durable.

    The n-th proposal depends on the seed, on n and on what was told before, and on nothing else: a
    proposer that is given an old study's proposals through ``recall`` and their endings through
    ``tell`` goes on as the one that made them would have.
    """

    def ask(self, number: int, acceptable: Acceptable) -> Proposal | None:
        """A proposal for trial ``number`` that is ``acceptable``; None if no such can be found."""
        ...

    def recall(self, number: int, proposal: Proposal) -> None:
        """Takes in a proposal that an earlier proposer of the same study made."""
        ...

    def report(self, number: int, place: int, value: float) -> None:
        """Tells the validation accuracy at a report point."""
        ...

    def tell(self, number: int, ending: Ending, value: float | None) -> None:
        """Tells how a trial ended; ``value`` is its best validation accuracy, None if it has none."""
        ...

    def median_prunes(self, number: int) -> bool:
        """Whether the median rule would stop the trial at its last report."""
        ...
