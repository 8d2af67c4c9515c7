"""``export``: the chosen model as a folder to take away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_sweep import arithmetic, durable, exporting, quiet, study
from fmnist_sweep import data as datasets
from fmnist_sweep.errors import ExportError, StudyError, UsageError
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord, StudyState


def export(settings: Settings, model: str, formats: list[str], out: Path | None, console: Console) -> dict[str, Any]:
    """Exports a kept model; see the command line's ``export``.

    Args:
        settings: Which home and study.
        model: ``best``, a trial's number, or a lab net's name.
        formats: Of ``exporting.FORMATS``.
        out: The folder to make; None for one under home.
        console: For people.

    Raises:
        SweepError: No such model, or it can't be exported.
    """
    unknown = [name for name in formats if name not in exporting.FORMATS]
    if unknown:
        raise UsageError(f"--format {unknown[0]!r} is unknown; valid: {', '.join(exporting.FORMATS)}")
    name = settings.study or study.plan(settings).name
    state = read(settings, name)
    job = _chosen(state, model)
    weights = settings.home.study(name).job(job.key) / "weights.npz"
    sha256 = job.result.weights_sha256 if job.result else ""
    if not weights.exists() or durable.sha256(weights) != sha256:
        raise ExportError(f"{job.key}: {weights} is missing or was altered (its sha256 is not {sha256})")
    source = datasets.find(settings.data_dir, say=lambda line: console.print(line))
    images = datasets.prepare(source, settings.home.data).load().validation_images
    console.print(f"exporting {job.key}, {job.arch.short}", highlight=False)
    quiet.load_tensorflow()
    from fmnist_sweep.model import rebuild

    net = rebuild(job.arch, weights.read_bytes(), name=job.key.replace("-", "_"))
    target = out or settings.home.exports / f"{name}-{job.key}"
    origin = {"run_id": job.run_id, "study": name, "trial": job.number if job.kind == "trial" else job.key}
    checks = exporting.write(target, net, images, _manifest(state, job, origin))
    for label, check in checks.items():
        console.print(
            f"{label}: {target / check.path}, {check.bytes / 1e6:.1f} MB, agrees with the original on all "
            f"{len(images):,} validation images (largest difference {check.max_abs_difference:.1g}), "
            f"{check.latency_ms:.1f} ms an image",
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"\nNext:\n  python -m fmnist_sweep predict {target} IMAGE.png", highlight=False, soft_wrap=True)
    described = {
        label: {
            "path": str(target / check.path),
            "bytes": check.bytes,
            "max_abs_difference": check.max_abs_difference,
            "argmax_agreement": check.argmax_agreement,
            "latency_ms": check.latency_ms,
        }
        for label, check in checks.items()
    }
    return {"out": str(target), "formats": described, "source": origin}


def read(settings: Settings, name: str) -> StudyState:
    """The state of an existing study.

    Raises:
        StudyError: There is none of that name.
    """
    folder = settings.home.study(name)
    if not folder.exists:
        known = ", ".join(settings.home.studies()) or "none yet"
        raise StudyError(f"--study {name!r}: no such study in {settings.home.path}; there: {known}")
    ledger = Ledger(folder.ledger)
    try:
        return StudyState.of(ledger.events())
    finally:
        ledger.close()


def _chosen(state: StudyState, model: str) -> JobRecord:
    kept = {job.key: job for job in state.jobs.values() if job.kept}
    best = next(iter(state.ranked()), None)
    if model == "best":
        if best is None:
            raise ExportError(f"study {state.study['name']!r} has no complete trial to export yet")
        return best
    key = f"trial-{int(model):04d}" if model.isdecimal() else model
    if key in state.jobs and state.jobs[key].same_as:
        key = state.jobs[key].same_as
    if key not in kept:
        valid = ["best", *(str(job.number) if job.kind == "trial" else job.key for job in kept.values())]
        raise UsageError(f"--model {model!r} has no kept model; valid: {', '.join(valid)}")
    return kept[key]


def _manifest(state: StudyState, job: JobRecord, origin: dict[str, Any]) -> dict[str, Any]:
    cost = arithmetic.cost(job.arch)
    return {
        "name": f"{state.study['name']} {job.key}",
        "net": job.arch.short,
        "classes": state.study["data_set"]["classes"],
        "input": {"shape": list(job.arch.input_shape), "range": [0, 255], "preprocessing": exporting.PREPROCESSING},
        "output": {"shape": [job.arch.classes], "meaning": "probability of each class"},
        "arch": job.arch.to_dict(),
        "train": job.train.to_dict(),
        "fingerprint": job.fingerprint,
        "weights_sha256": job.result.weights_sha256 if job.result else "",
        "val_accuracy": job.best,
        "parameters": cost.parameters,
        "flops": cost.flops,
        "source": {**origin, "study_id": state.study["id"], "git_commit": state.study["git_commit"]},
        "data": {"name": state.study["data_set"]["name"], "files": state.study["data_set"]["files"]},
        "versions": state.study["versions"],
    }
