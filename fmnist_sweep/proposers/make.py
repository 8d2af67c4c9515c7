"""Chooses the proposer that a sweep asks for."""

from __future__ import annotations

from fmnist_sweep import quiet
from fmnist_sweep.proposers.base import Proposer, Task


def make(task: Task) -> Proposer:
    """The proposer that ``task.config`` names; its library is loaded here and not before.

    Raises:
        UsageError: The engine can't search this space.
    """
    study = task.config.study
    if study.engine != "optuna":
        quiet.load_tensorflow()
        from fmnist_sweep.proposers import keras_tuner

        return keras_tuner.PROPOSERS[study.engine](task)
    if study.sampler == "grid":
        from fmnist_sweep.proposers.grid import GridProposer

        return GridProposer(task)
    if study.sampler == "gp":
        from fmnist_sweep.proposers.curves import CurveProposer

        return CurveProposer(task)
    from fmnist_sweep.proposers.optuna import OptunaProposer

    return OptunaProposer(task, study.sampler)
