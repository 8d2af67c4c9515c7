"""``export``: the chosen model as a folder to take away."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_sweep import data as datasets
from fmnist_sweep import exporting, finals, study, testing
from fmnist_sweep.commands.closing import PROGRAM, Closing, Step, compare_step, insist
from fmnist_sweep.display import called, percent
from fmnist_sweep.errors import ExportError, UsageError
from fmnist_sweep.executors.local import warm_up
from fmnist_sweep.exporting import CARD, FormatCheck, Material, Written
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.wording import points

_TOLD = (
    "max_abs_difference",
    "argmax_agreement",
    "latency_ms",
    "batch_latency_ms",
    "val_accuracy",
    "val_accuracy_loss",
)


def export(settings: Settings, model: str, formats: list[str], out: Path | None, console: Console) -> dict[str, Any]:
    """Exports a kept model; see the command line's ``export``.

    Args:
        settings: Which home and study.
        model: ``best`` of the search, ``champion`` of the finals, a trial's number, or a lab net's name.
        formats: Names, or ``all``.
        out: The folder to make; None for one under home.
        console: For people.

    Returns:
        The object for ``--json``; under ``refused`` is why a format is not there.

    Raises:
        SweepError: No such model, or it can't be exported.
    """
    wanted = exporting.chosen(formats)
    name = settings.study or study.plan(settings).name
    state = study.read(settings, name)
    job = _chosen(state, model)
    candidate = finals.candidate(state, job, settings.home.study(name))
    testing.check([candidate])
    warm_up()
    section = study.plan(replace(settings, study=name)).config.data
    source = datasets.source_of(section, settings.data_dir, say=lambda line: console.print(line))
    if source.fingerprint != state.study["data"]:
        raise ExportError(
            f"the images of study {name!r} have changed since it was run (their fingerprint is {source.fingerprint}, "
            f"and was {state.study['data']}); valid: the same files, see --data-dir"
        )
    data = datasets.prepare(source, settings.home.data, train_images=state.study["train_images"])
    listed = ", ".join(form.name for form in wanted)
    console.print(f"exporting {job.key}, {job.arch.short}, as {listed}", highlight=False, soft_wrap=True)
    target = out or settings.home.exports / f"{name}-{job.key}"
    origin = {"run_id": job.run_id, "study": name, "trial": job.number if job.kind == "trial" else job.key}
    written = exporting.write(
        target,
        wanted,
        Material(candidate, source, data),
        lambda original: exporting.describe(state, job, origin, original),
        log=settings.home.study(name).log,
    )
    for label, check in written.checks.items():
        console.print(_line(label, target, check), soft_wrap=True, highlight=False)
    for label, reason in written.refused.items():
        insist(console, f"error: format {label} {reason}; it was removed")
    _closing(settings, state, job, target, written).show(console)
    return {
        "out": str(target),
        "formats": {label: _told(target, check) for label, check in written.checks.items()},
        "refused": written.refused,
        "source": origin,
    }


def _closing(settings: Settings, state: StudyState, job: JobRecord, target: Path, written: Written) -> Closing:
    """What is in the folder, how far each format is what was trained, and what to type next."""
    exact = [label for label, check in written.checks.items() if check.argmax_agreement == 1]
    (images,) = {check.images for check in written.checks.values()}
    parts = [f"{', '.join(exact)}: the original's class for all {images:,} test images."] if exact else []
    parts += [
        f"{label}: the original's class for {100 * check.argmax_agreement:.2f} % of {images:,} test images."
        for label, check in written.checks.items()
        if label not in exact
    ]
    parts += [f"Refused, and not there: {', '.join(written.refused)}."] if written.refused else []
    comparable = state.compared is None and bool(state.ranked())
    if comparable and job.kind == "trial":
        parts.append("Whether it beats the lab's nets or was lucky, compare tells.")
    steps = [Step("classify an image", f"{PROGRAM} predict {shlex.quote(str(target))} IMAGE.png")]
    return Closing(
        f"{called(job)} is in {target} as {', '.join(written.checks)}: {percent(job.kept_accuracy)} in validation.",
        " ".join(parts),
        [Step("what it is for, how accurate, its limits", str(target / CARD))],
        [*steps, *([compare_step(settings, state)] if comparable else [])],
    )


def _line(label: str, target: Path, check: FormatCheck) -> str:
    agrees = (
        f"agrees with the original on all {check.images:,} test images"
        if check.argmax_agreement == 1
        else f"says the same as the original of {100 * check.argmax_agreement:.2f} % of {check.images:,} test images"
    )
    scored = ""
    if check.val_accuracy is not None and check.val_accuracy_loss is not None:
        scored = f", validation accuracy {100 * check.val_accuracy:.2f} % ({points(-check.val_accuracy_loss)} points)"
    return (
        f"{label}: {target / check.path}, {check.bytes / 1e6:.2f} MB, {agrees} (largest difference "
        f"{check.max_abs_difference:.1g}){scored}, {check.latency_ms:.3g} ms for one image, "
        f"{check.batch_latency_ms:.3g} ms for 64"
    )


def _told(target: Path, check: FormatCheck) -> dict[str, Any]:
    measured = check.to_dict()
    return {
        "path": str(target / check.path),
        "bytes": check.bytes,
        **{name: measured[name] for name in _TOLD if name in measured},
    }


def _chosen(state: StudyState, model: str) -> JobRecord:
    kept = {job.key: job for job in state.jobs.values() if job.kept and job.kind != "final"}
    best = next(iter(state.ranked()), None)
    if model == "best":
        if best is None:
            raise ExportError(f"study {state.study['name']!r} has no complete trial to export yet")
        return best
    if model == "champion":
        if state.compared is None:
            raise ExportError(f"study {state.study['name']!r} has no champion yet; compare names it")
        return state.jobs[state.compared["champion"]["job"]]
    key = f"trial-{int(model):04d}" if model.isdecimal() else model
    if key in state.jobs and state.jobs[key].same_as:
        key = state.jobs[key].same_as
    if key not in kept:
        valid = ["best", "champion"]
        valid += [str(job.number) if job.kind == "trial" else job.key for job in kept.values()]
        raise UsageError(f"--model {model!r} has no kept model; valid: {', '.join(valid)}")
    return kept[key]
