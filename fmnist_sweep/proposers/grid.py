"""Every configuration of a finite space, once, in the file's order."""

from __future__ import annotations

from collections.abc import Sequence

from fmnist_sweep import space
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers.base import Acceptable, Past, Proposal, Task


class GridProposer:
    """See ``Proposer``; goes on where it was, as what came before it is past and so not acceptable again."""

    def __init__(self, task: Task) -> None:
        self._configurations = space.configurations(
            task.config, input_shape=task.input_shape, classes=task.classes, seed=task.seed
        )

    def ask(self, past: Sequence[Past], acceptable: Acceptable) -> Proposal | None:
        """See ``Proposer``.

        Raises:
            UsageError: The space has a continuous range.
        """
        known = {earlier.proposal.fingerprint for earlier in past}
        try:
            for arch, train, drawn in self._configurations:
                proposal = Proposal(arch, train, drawn)
                if proposal.fingerprint not in known and acceptable(proposal):
                    return proposal
        except space.Endless as error:
            raise UsageError(
                f"sampler 'grid' needs a finite space, but {error} is a range without a step; "
                "valid: give it a step or choices, or another sampler"
            ) from None
        return None
