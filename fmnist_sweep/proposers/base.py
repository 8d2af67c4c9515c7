"""The contract of a proposer."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.schema import SweepConfig

Standing = Literal["running", "stopped", "complete", "failed", "infeasible"]


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


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier proposal and how it stands.

    Attributes:
        proposal: What was tried.
        standing: ``running``; ``stopped`` below its last epoch, for now or for good; ``complete``; ``failed``; or
            ``infeasible``, as it does not fit the machine.
        scores: What it is compared by at each report point so far: validation accuracy, 0 to 1, less the price of
            its time.
        value: What a complete trial is worth, 0 to 1: its validation accuracy over the last steps, or 0 if it diverged.
    """

    proposal: Proposal
    standing: Standing
    scores: tuple[float, ...]
    value: float | None


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched: the sweep, the images it is for, and the seed of everything drawn."""

    config: SweepConfig
    input_shape: tuple[int, int, int]
    classes: int
    seed: int


class Prints:
    """Remembers what no two proposals may have in common, as it takes a while to work out.

    Args:
        of: Works it out.
    """

    def __init__(self, of: Callable[[Proposal], str] = lambda proposal: proposal.fingerprint) -> None:
        self._of = of
        self._known: dict[int, tuple[Proposal, str]] = {}  # by number

    def all(self, past: Sequence[Past]) -> list[str]:
        """Of each earlier proposal, in order."""
        return [self._one(number, earlier.proposal) for number, earlier in enumerate(past)]

    def _one(self, number: int, proposal: Proposal) -> str:
        known = self._known.get(number)
        if known is None or known[0] is not proposal:
            known = self._known[number] = (proposal, self._of(proposal))
        return known[1]


def telling(past: Sequence[Past], limit: int) -> list[int]:
    """Of which earlier proposals a model is told: all, or of very many the better half of ``limit`` and the latest.

    Returns:
        Their places in ``past``, ascending.
    """
    if len(past) <= limit:
        return list(range(len(past)))
    ranked = sorted(range(len(past)), key=lambda place: (max(past[place].scores, default=0.0), place))
    chosen = set(ranked[-limit // 2 :])
    latest = (place for place in reversed(range(len(past))) if place not in chosen)
    chosen.update(itertools.islice(latest, limit - len(chosen)))
    return sorted(chosen)


class Wait(enum.Enum):
    """The answer of a proposer that has nothing now, and may have something once a running trial has ended."""

    WAIT = enum.auto()


Excess = Callable[[Proposal], float]


class Proposer(Protocol):
    """Proposes configurations. One thread uses it.

    A proposal is a function of the task and of what is handed to ``ask``: a proposer remembers nothing
    that matters, so a study that was interrupted goes on as it would have without.
    """

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:
        """The next proposal.

        Args:
            past: All earlier proposals, in order; the new trial's number is their count.
            excess: By what share a proposal is over the limits; it may be tried at 0 or below.

        Returns:
            A proposal within the limits; ``Wait.WAIT`` if there will be one once a running trial has ended; None if no
            other can be found.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """A proposer that can also tell which trials are worth training on; by what it is handed alone, as ``ask``."""

    def worth(self, past: Sequence[Past], places: Sequence[int]) -> list[float]:
        """How much it is worth that trials train on to their last epoch: numbers to compare with each other.

        Args:
            past: All earlier proposals, in order.
            places: Those in question, each of which has reported.
        """
        ...
