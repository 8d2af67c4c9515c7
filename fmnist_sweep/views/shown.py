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

_CUT = "\n\nThe rest is in `summary.md` of the study's run."
STUDY_RUN = "study"
NAME_TAG = "sweep.name"
STUDY_FILES = ("sweep.json", "environment.txt")
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# The lab's nets are warm, the trials cool, so that a chart tells them apart at a glance.
_LAB_COLORS = {
    "lab-cnn1": "#f0a000",
    "lab-cnn3": "#e2540d",
    "lab-cnn3-bn-as-written": "#eeab8c",
    "lab-cnn3-bn-as-intended": "#a3122f",
    "lab-mlp": "#8a6d3b",
}
_TRIAL_COLORS = ("#1f5fbf", "#2aa198", "#6a4fc1", "#3f9b3f", "#0b8fd1", "#157f6b", "#8e7cc3", "#34495e", "#7cb342")


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, whole lines, with a word on what is missing."""
    if len(text) <= most:
        return text
    return f"{text[: most - len(_CUT)].rpartition(chr(10))[0]}{_CUT}"


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


def name(job: JobRecord) -> str:
    """What a job is called whatever its seed, as in ``trial 7`` or ``lab-cnn3``: the finals have one for each seed."""
    if job.kind == "trial":
        return f"trial {job.number}"
    base = job.key.removeprefix("final-").partition("-seed")[0]
    return base.replace("trial-", "trial ")


def look_tags(job: JobRecord) -> dict[str, str]:
    """Tags that MLflow's pages group and colour by."""
    color = _LAB_COLORS.get(name(job)) or _TRIAL_COLORS[_number(job) % len(_TRIAL_COLORS)]
    return {NAME_TAG: name(job), "mlflow.runColor": color}


def look_params(job: JobRecord) -> dict[str, str]:
    """Parameters for the axes of MLflow's charts.

    These leave out every run whose value is a text where most are numbers, or the other way round, as ``filters``
    is for nets of one block (``64``) among others (``32-64``).
    """
    blocks = job.arch.blocks
    dropout = sum(block.dropout for block in blocks) / len(blocks) if blocks else 0.0
    return {"filters_sum": str(sum(block.filters for block in blocks)), "dropout_mean": f"{dropout:.4g}"}


def _number(job: JobRecord) -> int:
    digits = name(job).removeprefix("trial ")
    return int(digits) if digits.isdecimal() else 0


def note(job: JobRecord, about: str = "") -> str:
    """A run's description: what the net is, and how it ended."""
    net = f"{name(job)}: {job.arch.short}" + (f", {about}" if about else "") + "."
    if job.kind == "final":
        net = f"{net} Trained anew under seed {job.train.seed}, for the finals."
    result = job.result
    if job.state == "failed":
        return f"{net} Failed: {job.reason}"
    if result is None:
        return net
    scored = f"{100 * result.best_val_accuracy:.2f} % in validation after epoch {result.best_epoch:g}"
    if job.state == "pruned":
        return f"{net} Ended early, at epoch {result.epoch:g} of {job.train.epochs}: {scored}."
    return f"{net} Trained in full, {job.train.epochs} epochs: {scored}, one seed."


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
