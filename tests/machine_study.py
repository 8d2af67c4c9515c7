"""The study of the state machine: its nets, its identity, what proposes them, and how it must end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fmnist_sweep.doctor.comparison import agreement
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event
from fmnist_sweep.proposers import Past, Proposal, Task, Wait
from fmnist_sweep.proposers.base import Excess
from fmnist_sweep.state import ENDED, StudyState
from fmnist_sweep.trial import Extra
from fmnist_sweep.views import mlflow_seen, optuna_seen
from tests import stand_ins
from tests.machine_parts import weights_of
from tests.stand_ins import reports_of

TRIALS, KEPT = 6, 1
# The later, the better: so trials are held, taken up again, and their weights dropped for better ones.
NETS = sorted(stand_ins.proposals(), key=lambda it: reports_of(it.arch, it.train, (1.0,))[0].val_accuracy)
NAME, NOWHERE = "mine", "http://stand-in"
TWIN = Extra("lab-twin", "lab", NETS[2].arch, NETS[2].train)  # trial 2's net


def small_task() -> Task:
    task = stand_ins.task()
    study = task.config.study.model_copy(update={"keep_models": KEPT})
    return Task(task.config.model_copy(update={"study": study}), task.input_shape, task.classes, 0)


def identity(task: Task) -> dict[str, Any]:
    data_set = {"name": "images", "fingerprint": "0" * 16, "files": {}, "image_shape": [8, 8, 1], "classes": ["a"]}
    return {
        **{"name": NAME, "id": "1234", "title": "a study", "seed": 0, "train_images": 40, "data": "0" * 16},
        **{"versions": {"python": "3.11"}, "config": task.config.model_dump(mode="json"), "git_commit": ""},
        **{"data_set": {**data_set, "training": 40, "validation": 20}, "environment": "", "created": 0.0},
    }


class InOrder:
    """Proposes one net after the other; before the fourth it waits until nothing is trained."""

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:  # noqa: ARG002
        if len(past) == 3 and any(it.standing == "running" for it in past):
            return Wait.WAIT
        return NETS[len(past)]


def check_end(events: Sequence[Event], study: StudyFolder, hurt: Collection[str]) -> None:
    """Ledger, files, MLflow and Optuna agree on exactly the trials that were asked for.

    Args:
        events: Of the study, which has ended.
        study: Its folder.
        hurt: Jobs that may have failed.
    """
    state = StudyState.of(events)
    assert [job.number for job in state.trials()] == list(range(TRIALS))
    assert all(job.state in ENDED for job in state.jobs.values())
    failed = [job for job in state.jobs.values() if job.state == "failed"]
    assert {job.same_as or job.key for job in failed} <= set(hurt)
    lab = [job for job in state.of_kind("lab") if job.state == "complete"]
    kept = [job for job in state.jobs.values() if job.kept]
    assert {job.key for job in [*lab, *state.ranked()[:KEPT]] if not job.same_as} <= {job.key for job in kept}
    for job in kept:
        assert (study.job(job.key) / "weights.npz").read_bytes() == weights_of(job.arch, job.train)
    found = agreement(state, mlflow_seen.read(NOWHERE, state), optuna_seen.read(NOWHERE, NAME, "1234"))
    assert [finding for finding in found if finding.kind not in ("model", "champion")] == []  # nothing logs models here
