"""Every configuration of a finite space, once, in the file's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fmnist_sweep import space
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers.base import Excess, Past, Prints, Proposal, Task


class GridProposer:
    """See ``Proposer``; what it has listed within the limits it remembers, so as not to walk the space again.

    Raises:
        UsageError: The space has a continuous range.
    """

    def __init__(self, task: Task) -> None:
        endless = space.endless(task.config)
        if endless:
            raise UsageError(
                f"sampler 'grid' needs a finite space, but {endless} is a range without a step; "
                "valid: give it a step or choices, or another sampler"
            )
        self._rest = space.configurations(
            task.config, input_shape=task.input_shape, classes=task.classes, seed=task.seed
        )
        self._prints = Prints()
        self._listed: list[tuple[str, Proposal]] = []

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | None:
        """See ``Proposer``."""
        known = set(self._prints.all(past))
        return next((proposal for print_, proposal in self._all(excess) if print_ not in known), None)

    def _all(self, excess: Excess) -> Iterator[tuple[str, Proposal]]:
        yield from self._listed
        for found in self._rest:
            proposal = Proposal(*found)
            if excess(proposal) <= 0:
                self._listed.append((proposal.fingerprint, proposal))
                yield self._listed[-1]
