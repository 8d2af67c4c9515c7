"""Who proposes the next configuration: one contract, several implementations."""

from __future__ import annotations

from fmnist_sweep.proposers.base import Past, Proposal, Proposer, Task, Wait
from fmnist_sweep.proposers.make import make

__all__ = ["Past", "Proposal", "Proposer", "Task", "Wait", "make"]
