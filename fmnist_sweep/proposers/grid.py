"""Every configuration of a finite space, once, in the file's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fmnist_sweep import space
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers.base import Excess, Past, Proposal, Task


class GridProposer:
    """See ``Proposer``; what it has listed it remembers, so as not to walk the space again.

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
        self._listed: list[Proposal] = []

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | None:
        """See ``Proposer``."""
        known = {earlier.proposal.fingerprint for earlier in past}
        for proposal in self._all():
            if proposal.fingerprint not in known and excess(proposal) <= 0:
                return proposal
        return None

    def _all(self) -> Iterator[Proposal]:
        yield from self._listed
        for arch, train, drawn in self._rest:
            self._listed.append(Proposal(arch, train, drawn))
            yield self._listed[-1]
