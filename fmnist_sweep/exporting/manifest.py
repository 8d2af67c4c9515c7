"""What an export says of its model: what it is, where it came from, how good it is."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fmnist_sweep import arithmetic
from fmnist_sweep.exporting import accuracy
from fmnist_sweep.exporting.checks import Original
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.stats import smallest_p
from fmnist_sweep.verdicts import LEVEL

_PREPROCESSING = "none: the model takes raw pixels, 0 to 255, as (batch, height, width, channels)"
_OF_DATA = ("name", "about", "files", "training", "validation")
_TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


def describe(state: StudyState, job: JobRecord, origin: dict[str, Any], original: Original) -> dict[str, Any]:
    """The manifest, the formats aside.

    Args:
        state: Of the study.
        job: Whose model it is.
        origin: Run, study and trial, as ``export --json`` names them.
        original: What the model says.
    """
    cost = arithmetic.cost(job.arch)
    classes = state.study["data_set"]["classes"]
    return {
        "name": f"{state.study['name']} {job.key}",
        "net": job.arch.short,
        "classes": classes,
        "input": {"shape": list(job.arch.input_shape), "range": [0, 255], "preprocessing": _PREPROCESSING},
        "output": {"shape": [job.arch.classes], "meaning": "probability of each class"},
        "arch": job.arch.to_dict(),
        "train": job.train.to_dict(),
        "fingerprint": job.fingerprint,
        "weights_sha256": job.result.weights_sha256 if job.result else "",
        "val_accuracy": job.kept_accuracy,
        "parameters": cost.parameters,
        "flops": cost.flops,
        "accuracy": {"validation": accuracy.validation(original, classes), "test": accuracy.test(state, job)},
        "source": {**origin, **_training(state, job)},
        "data": {key: state.study["data_set"].get(key, "") for key in _OF_DATA},
        "versions": state.study["versions"],
        "exported_with": dict(_installed()),
    }


def _training(state: StudyState, job: JobRecord) -> dict[str, Any]:
    last = job.reports[-1].epoch if job.reports else 0.0
    best = job.result.best_epoch if job.result else last
    epochs = "its one epoch" if last == 1 else f"the best of {last:g} epochs"
    crowned = {"crowned_by": _crowned_by(state)} if job.kind == "final" else {}
    chosen = {
        "trial": f"that of {epochs}, in a search of {len(state.trials())} trial{'s' * (len(state.trials()) != 1)}",
        "lab": f"that of {epochs}",
        "final": "that after the last epoch of one run of the finals, where the best run by it stands for its net",
    }[job.kind]
    return {
        "job": job.key,
        "study_id": state.study["id"],
        "git_commit": state.study["git_commit"],
        "machine": state.study["machine"],
        "epoch": last if job.kind == "final" else best,
        "train_s": job.result.train_s if job.result else 0.0,
        "chosen": chosen,
        **crowned,
    }


def _crowned_by(state: StudyState) -> str:
    """What made a final the champion: verdicts on the test images, or validation where seeds are too few for any."""
    seeds = len(state.compared["seeds"]) if state.compared else 0
    return "verdicts" if seeds and smallest_p(seeds) <= LEVEL else "validation"


def _installed() -> Iterator[tuple[str, str]]:
    for name in _TOOLS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
