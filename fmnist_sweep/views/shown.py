"""What MLflow is to show of a study: pure functions of the ledger, for the view that shows it and for the doctor."""

from __future__ import annotations

import math
from typing import Any, Literal

from fmnist_sweep import arithmetic
from fmnist_sweep.arch import contract_params
from fmnist_sweep.state import JobRecord
from fmnist_sweep.trial import Report

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED"]
Curve = tuple[tuple[int, float], ...]  # (step, value), in order

STUDY_RUN = "study"
STUDY_FILES = ("sweep.json", "environment.txt")
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def status(job: JobRecord) -> Status:
    """A run's status; a job that waits for a later run is scheduled."""
    if job.state in ("complete", "pruned"):
        return "FINISHED"
    if job.state == "failed":
        return "FAILED"
    return "RUNNING" if job.state == "running" and not job.paused else "SCHEDULED"


def birth_tags(study: dict[str, Any], job: JobRecord) -> dict[str, str]:
    """The tags that a run has from its first moment on."""
    same = {"sweep.same_as": job.same_as} if job.same_as else {}
    return {
        "sweep.kind": job.kind,
        "sweep.trial": str(job.number) if job.kind == "trial" else job.key,
        "sweep.state": "running",
        "sweep.fingerprint": job.fingerprint,
        "sweep.net": job.arch.short,
        **identity_tags(study, job.key),
        **same,
    }


def end_tags(job: JobRecord) -> dict[str, str]:
    """The tags that a run gets at its end."""
    tags: dict[str, str] = {"sweep.state": job.state}
    if job.reason:
        tags["sweep.reason"] = job.reason
    if job.result is not None and job.result.weights_sha256 and not job.same_as:
        tags["sweep.model_sha256"] = job.result.weights_sha256
    return tags


def study_tags(study: dict[str, Any]) -> dict[str, str]:
    """The tags of the run that stands for the study itself."""
    return {"sweep.kind": "study", "sweep.net": "", **identity_tags(study, STUDY_RUN)}


def identity_tags(study: dict[str, Any], key: str) -> dict[str, str]:
    """What tells a run of this study from all others."""
    return {"sweep.study": study["name"], "sweep.study_id": study["id"], "sweep.job": key}


def params(study: dict[str, Any], job: JobRecord) -> dict[str, str]:
    """A run's parameters."""
    values = {**contract_params(job.arch, job.train), "train_images": study["train_images"]}
    return {name: str(value) for name, value in values.items()}


def study_params(study: dict[str, Any]) -> dict[str, str]:
    """The parameters of the run that stands for the study itself."""
    values = {name: study[name] for name in ("seed", "train_images", "data")}
    return {name: str(value) for name, value in {**values, **study["versions"]}.items()}


def birth_metrics(job: JobRecord) -> dict[str, float]:
    """What is known of a net before it is trained."""
    cost = arithmetic.cost(job.arch)
    return {"parameters": float(cost.parameters), "flops": float(cost.flops)}


def end_metrics(job: JobRecord) -> dict[str, float]:
    """What is logged once, at the end; nothing for a job without a result."""
    result = job.result
    if result is None:
        return {}
    return {
        "best_val_accuracy": result.best_val_accuracy,
        "best_epoch": result.best_epoch,
        "epochs_trained": result.epoch,
        "train_s": result.train_s,
        "images_per_s": result.images_per_s,
        "peak_memory_bytes": float(result.peak_bytes),
    }


def tested_metrics(job: JobRecord) -> dict[str, float]:
    """What the finals add; nothing for a job that was not tested."""
    tested = job.tested
    return {} if tested is None else {"test_accuracy": tested.accuracy, "test_loss": tested.loss}


def step(report: Report) -> int:
    """The step of a report point: whole epochs trained, as the points below one have none of their own."""
    return math.floor(report.epoch)


def curves(job: JobRecord) -> dict[str, Curve]:
    """By name, a point for each report."""
    return {name: tuple((step(report), float(getattr(report, name))) for report in job.reports) for name in CURVES}
