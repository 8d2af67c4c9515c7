"""Who proposes the next configuration: one contract, several implementations."""

from __future__ import annotations

from fmnist_sweep.proposers.base import Judge, Past, Proposal, Proposer, Task, Wait
from fmnist_sweep.proposers.make import make

__all__ = ["Judge", "Past", "Proposal", "Proposer", "Task", "Wait", "make"]
