"""Every configuration of a finite space, once, in the file's order."""

from __future__ import annotations

from fmnist_sweep import space
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers.base import Acceptable, Ending, Proposal, Task


class GridProposer:
    """See ``Proposer``; learns nothing.

    Raises:
        UsageError: The space has a continuous range.
    """

    def __init__(self, task: Task) -> None:
        self._configurations = space.configurations(
            task.config, input_shape=task.input_shape, classes=task.classes, seed=task.seed
        )

    def ask(self, number: int, acceptable: Acceptable) -> Proposal | None:  # noqa: ARG002
        """See ``Proposer``."""
        try:
            for arch, train, drawn in self._configurations:
                proposal = Proposal(arch, train, drawn)
                if acceptable(proposal):
                    return proposal
        except space.Endless as error:
            raise UsageError(
                f"sampler 'grid' needs a finite space, but {error} is a range without a step; "
                "valid: give it a step or choices, or another sampler"
            ) from None
        return None

    def recall(self, number: int, proposal: Proposal) -> None:
        """See ``Proposer``."""

    def report(self, number: int, place: int, value: float) -> None:
        """See ``Proposer``."""

    def tell(self, number: int, ending: Ending, value: float | None) -> None:
        """See ``Proposer``."""

    def median_prunes(self, number: int) -> bool:  # noqa: ARG002
        """Never: a grid compares all of its configurations in full."""
        return False
