"""Whether the models that the ledger has are in MLflow, whole, and the champion is one of them: pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fmnist_sweep.display import called
from fmnist_sweep.doctor.findings import Finding, Mend
from fmnist_sweep.publish import Title, heir, outranks
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views.seen import Champion, SeenMlflow, SeenModel


def models_agree(state: StudyState, seen: SeenMlflow) -> Iterator[Finding]:
    """What ledger and MLflow disagree on about models."""
    found = heir(state)
    for job in state.jobs.values():
        if job.kept and (job.kind != "final" or job.model_uri or (found is not None and job.key == found[0])):
            yield from _model_agrees(job, seen)
        elif job.same_as:
            yield from _twin_agrees(job, state.jobs[job.same_as], seen)
    yield from _half_logged(state, seen)
    yield from _champion_agrees(state, seen)


def owner(state: StudyState, job: JobRecord) -> JobRecord:
    """The job that was trained, where ``job`` is the same net as another."""
    return state.jobs.get(job.same_as, job)


def model_id(job: JobRecord) -> str:
    """The logged model's id; "" where the ledger has none."""
    return job.model_uri.removeprefix("models:/")


def sound(job: JobRecord, model: SeenModel | None) -> bool:
    """Whether ``model`` is what the ledger says of the job's."""
    sha256 = job.result.weights_sha256 if job.result else ""
    return model is not None and model.status == "READY" and model.whole and model.sha256 == sha256


def _model_agrees(job: JobRecord, seen: SeenMlflow) -> Iterator[Finding]:
    name, model, mend = called(job), seen.models.get(model_id(job)), Mend("log model", job.key)
    if not job.model_uri:
        yield Finding("model", f"{name}: its model is kept, and not logged in MLflow", mend)
    elif model is None:
        yield Finding("model", f"{name}: its logged model is gone from MLflow ({model_id(job)})", mend)
    elif model.status == "READY" and not model.whole:
        yield Finding("model", f"{name}: files of its logged model are gone ({model.model_id})", mend)
    elif not sound(job, model):
        what = f"{name}: its logged model is not of the kept weights ({model.model_id}: {model.status}, "
        yield Finding("checksum", f"{what}sha256 {model.sha256[:12] or 'none'})", mend)
    elif _unlinked(job, model.model_id, seen):
        yield Finding("model", f"{name}: its run does not show its model", Mend("link model", job.key))


def _twin_agrees(job: JobRecord, twin: JobRecord, seen: SeenMlflow) -> Iterator[Finding]:
    if sound(twin, seen.models.get(model_id(twin))) and _unlinked(job, model_id(twin), seen):
        what = f"{called(job)}: its run does not show the model of {called(twin)}, the same net"
        yield Finding("model", what, Mend("link model", job.key))


def _unlinked(job: JobRecord, model: str, seen: SeenMlflow) -> bool:
    return job.run_id in seen.runs and model not in seen.runs[job.run_id].models


def _half_logged(state: StudyState, seen: SeenMlflow) -> Iterator[Finding]:
    names = {job.run_id: called(job) for job in state.jobs.values() if job.run_id}
    for model in seen.models.values():
        if model.status != "READY" and model.run_id in names:
            what = f"{names[model.run_id]}: a model that was logged by halves ({model.model_id}, {model.status})"
            ours = Mend("delete model", model.model_id) if model.sha256 else None
            yield Finding("half-logged model", what, ours, "" if ours else "it is not the sweep's: delete it in MLflow")


def _champion_agrees(state: StudyState, seen: SeenMlflow) -> Iterator[Finding]:
    found = heir(state)
    if found is None:
        return
    (key, title), held = found, seen.champion
    job = state.jobs[key]
    mend = Mend("crown", key) if job.kept else None
    advice = "" if mend else f"the weights of {called(job)} are not kept, so nothing can take its place"
    if held is None:
        yield Finding("champion", "no model in MLflow's registry has the alias champion", mend, advice)
    elif not held.alive:
        yield Finding("champion", f"the champion, version {held.version}, is a model that is gone", mend, advice)
    elif not _keeps(held, title) and not _is(job, held):
        what = f"the champion, version {held.version}, is not {called(job)}, which has earned the alias"
        yield Finding("champion", what, mend, advice)


def _keeps(held: Champion, title: Title) -> bool:
    """Whether another study's champion stays where it is; it does where both are equal."""
    ours = round(title.val_accuracy, 6) - 1e-9  # its tag is rounded likewise
    return outranks(dict(held.tags), replace(title, val_accuracy=ours))


def _is(job: JobRecord, held: Champion) -> bool:
    sha256 = job.result.weights_sha256 if job.result else ""
    return held.source == job.model_uri and held.tags.get("sweep.model_sha256") == sha256
