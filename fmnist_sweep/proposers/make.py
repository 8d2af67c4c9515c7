"""Chooses the proposer that a sweep asks for."""

from __future__ import annotations

from fmnist_sweep.proposers.base import Proposer, Task


def make(task: Task) -> Proposer:
    """The proposer that ``task.config`` names; its library is loaded here and not before."""
    if task.config.study.sampler == "grid":
        from fmnist_sweep.proposers.grid import GridProposer

        return GridProposer(task)
    from fmnist_sweep.proposers.optuna import OptunaProposer

    return OptunaProposer(task, task.config.study.sampler)
