"""Whether ledger, MLflow and Optuna tell the same: pure functions of what was read from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fmnist_sweep.display import called
from fmnist_sweep.doctor.findings import Finding, How, Kind, Mend
from fmnist_sweep.doctor.models import models_agree
from fmnist_sweep.doctor.trials import trials_agree
from fmnist_sweep.doctor.words import few
from fmnist_sweep.state import ENDED, JobRecord, StudyState
from fmnist_sweep.views import shown
from fmnist_sweep.views.seen import SeenMlflow, SeenOptuna, SeenRun
from fmnist_sweep.views.shown import STUDY_RUN


def agreement(
    state: StudyState,
    mlflow: SeenMlflow,
    optuna: SeenOptuna,
    told_mlflow: Collection[str] | None = None,
    told_optuna: Collection[str] | None = None,
    live: bool = False,
) -> list[Finding]:
    """All that ledger, MLflow and Optuna's storage disagree on; nothing where all is well.

    Args:
        state: The ledger's.
        mlflow: What MLflow has.
        optuna: What Optuna's storage has.
        told_mlflow: Jobs of which MLflow was told all; all jobs by default.
        told_optuna: Jobs of which Optuna was told all; all jobs by default.
        live: Whether a driver is at work: then only what ended, and was told, is compared.
    """
    idle = [] if live else list(zombies(state))
    in_mlflow = mlflow_agrees(state, mlflow, comparable(state, told_mlflow, live), live)
    in_optuna = trials_agree(state, optuna, comparable(state, told_optuna, live), live)
    return [*idle, *in_mlflow, *in_optuna]


def mlflow_agrees(state: StudyState, seen: SeenMlflow, told: Collection[str], live: bool) -> Iterator[Finding]:
    """What ledger and MLflow disagree on; see ``agreement``."""
    begun = "experiment_id" in state.views
    if seen.experiment == "missing" and begun:
        yield Finding("missing", "MLflow does not have the study's experiment", Mend("begin MLflow anew"))
    elif seen.experiment == "deleted":
        yield Finding("missing", "the study's experiment was deleted in MLflow", Mend("restore experiment"))
    elif seen.experiment == "another's":
        what = f"MLflow's experiment {state.views['experiment_id']}, which was the study's, is another's"
        yield Finding("missing", what, Mend("begin MLflow anew"))
    elif seen.experiment == "here":
        yield from _runs_agree(state, seen, told, live)
        if not live:
            yield from _strays(state, seen)
            yield from models_agree(state, seen)


def comparable(state: StudyState, told: Collection[str] | None, live: bool) -> set[str]:
    """Jobs to compare in full; for the arguments see ``agreement``."""
    jobs = state.jobs.values()
    return {job.key for job in jobs if (told is None or job.key in told) and (not live or job.state in ENDED)}


def zombies(state: StudyState) -> Iterator[Finding]:
    """Jobs that the ledger has as running; for a study that no driver holds."""
    for job in state.jobs.values():
        if job.state == "running" and not job.paused:
            what = f"{called(job)} is running in the ledger, and nothing trains it"
            yield Finding("zombie", what, Mend("pause", job.key))


def _runs_agree(state: StudyState, seen: SeenMlflow, told: Collection[str], live: bool) -> Iterator[Finding]:
    study_run = state.views.get("study_run_id", "")
    if study_run or "study_run_id" in state.views:
        run = seen.runs.get(study_run)
        yield from _study_run_agrees(state, run, seen) if run else _lost(STUDY_RUN, "the study", study_run, seen)
    for job in state.jobs.values():
        run = seen.runs.get(job.run_id)
        if run is None and (job.run_id or job.key in told) and _has_run(job) and (not live or job.key in told):
            yield from _lost(job.key, called(job), job.run_id, seen)
        elif run is not None and job.key in told:
            yield from _run_agrees(state, job, run)
        elif run is not None and run.status == "RUNNING" and not live:
            yield from _status_agrees(job, run)


def _has_run(job: JobRecord) -> bool:
    """Whether anything happened to the job that a run would show."""
    return bool(job.attempts or job.reports or job.state in ENDED)


def _lost(key: str, name: str, run_id: str, seen: SeenMlflow) -> Iterator[Finding]:
    if run_id in seen.deleted:
        yield Finding("missing", f"{name}: its run in MLflow was deleted ({run_id})", Mend("restore run", run_id))
    elif run_id:
        yield Finding("missing", f"{name}: its run is gone from MLflow ({run_id})", Mend("replace run", key))
    else:
        yield Finding("missing", f"{name} has no run in MLflow", Mend("show in MLflow", key))


def _study_run_agrees(state: StudyState, run: SeenRun, seen: SeenMlflow) -> Iterator[Finding]:
    name, study = "the study's run", state.study
    yield from _compared("params", name, STUDY_RUN, shown.study_params(study), run.params, "replace run")
    yield from _compared("tags", name, STUDY_RUN, shown.study_tags(study), run.tags, "show in MLflow")
    gone = [file for file in shown.STUDY_FILES if file not in seen.files]
    if gone:
        yield Finding("missing", f"{name} lacks {few(gone)} in MLflow", Mend("show in MLflow", STUDY_RUN))
    if run.status != "FINISHED":
        yield Finding("zombie", f"{name} is {run.status} in MLflow", Mend("show in MLflow", STUDY_RUN))


def _run_agrees(state: StudyState, job: JobRecord, run: SeenRun) -> Iterator[Finding]:
    name, study = called(job), state.study
    yield from _status_agrees(job, run)
    yield from _compared("params", name, job.key, shown.params(study, job), run.params, "replace run")
    tags = {**shown.birth_tags(study, job), **(shown.end_tags(job) if job.state in ENDED else {})}
    yield from _compared("tags", name, job.key, tags, run.tags, "show in MLflow")
    ended = shown.end_metrics(job) if job.state in ENDED else {}
    metrics = {**shown.birth_metrics(job), **ended, **shown.tested_metrics(job)}
    yield from _compared("metrics", name, job.key, metrics, run.metrics, "replace run")
    yield from _curves_agree(job, run)


def _status_agrees(job: JobRecord, run: SeenRun) -> Iterator[Finding]:
    status = shown.status(job)
    waits = "SCHEDULED" if status == "RUNNING" else status  # without a driver nothing runs
    if run.status == "RUNNING":
        what = f"{called(job)} is RUNNING in MLflow, and nothing trains it"
        yield Finding("zombie", what, Mend("show in MLflow", job.key))
    elif run.status != waits:
        what = f"{called(job)} is {run.status} in MLflow, not {waits}"
        yield Finding("state", what, Mend("show in MLflow", job.key))


def _curves_agree(job: JobRecord, run: SeenRun) -> Iterator[Finding]:
    lacking, differing = [], []
    for name, expected in shown.curves(job).items():
        found = run.curves.get(name, ())
        if Counter(found) - Counter(expected):
            differing.append(name)
        elif Counter(expected) - Counter(found):
            lacking.append(name)
    if differing:
        yield Finding("curve", f"{called(job)}: {few(differing)} differ in MLflow", Mend("replace run", job.key))
    if lacking:
        what = f"{called(job)}: {few(lacking)} lack points in MLflow"
        yield Finding("curve", what, Mend("show in MLflow", job.key))


def _compared(
    kind: Kind, name: str, key: str, expected: Mapping[str, Any], found: Mapping[str, Any], other: How
) -> Iterator[Finding]:
    """Compares what is logged once; ``other`` is how a value that differs is mended."""
    lacking = [label for label in expected if label not in found]
    differing = [label for label, value in expected.items() if label in found and found[label] != value]
    if differing:
        yield Finding(kind, f"{name}: {few(differing)} differ in MLflow", Mend(other, key))
    if lacking:
        yield Finding(kind, f"{name}: {few(lacking)} are missing in MLflow", Mend("show in MLflow", key))


def _strays(state: StudyState, seen: SeenMlflow) -> Iterator[Finding]:
    """Runs with the study's tags that the ledger does not have."""
    runs = {job.key: job.run_id for job in state.jobs.values()}
    runs[STUDY_RUN] = state.views.get("study_run_id", "")
    for run in seen.runs.values():
        key = run.tags.get("sweep.job", "")
        if run.tags.get("sweep.study_id") != state.study["id"] or run.run_id in runs.values():
            continue
        if key not in runs:
            what = f"MLflow's run {run.run_id} has this study's tags, and no job of the ledger"
            yield Finding("orphan", what, advice="delete it in MLflow if nobody needs it")
        elif runs[key] in seen.runs:
            name = called(state.jobs[key]) if key in state.jobs else "the study"
            what = f"{name} has a second run in MLflow ({run.run_id})"
            yield Finding("duplicate", what, Mend("delete run", run.run_id))
