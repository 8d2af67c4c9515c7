"""Whether the files of a study are those that its ledger speaks of; reads, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from fmnist_sweep import durable, exporting
from fmnist_sweep.display import called
from fmnist_sweep.doctor.findings import Finding, Mend
from fmnist_sweep.doctor.models import model_id
from fmnist_sweep.durable import SCRATCH
from fmnist_sweep.errors import ExportError
from fmnist_sweep.home import Home, StudyFolder
from fmnist_sweep.publish import heir
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import ENDED, JobRecord, StudyState

_PROBE = re.compile(r"\.probe-(\d+)")
_OLD_S = 3600.0


def files_agree(state: StudyState, folder: StudyFolder, retrain: str) -> Iterator[Finding]:
    """What ledger and files disagree on, in a study that no driver holds.

    Args:
        state: The ledger's.
        folder: The study's.
        retrain: The command that trains the study again.
    """
    best, champion = {job.key for job in state.ranked()[: _keep_models(state)]}, heir(state)
    for job in state.jobs.values():
        if job.kept:
            done = job.tested is not None and not model_id(job) and (champion is None or job.key != champion[0])
            yield from _weights_agree(job, folder, retrain, done)
        elif job.state in ENDED:
            yield from _unkept(job, folder, wanted=job.key in best or job.kind != "trial")
        if not job.same_as:
            yield from _checkpoint_agrees(job, folder)
    yield from _strange_folders(state, folder)
    for path in sorted(folder.path.rglob(".*")):
        if path.is_file() and SCRATCH.fullmatch(path.name):
            yield Finding("scratch", f"a half-written file: {_short(path, folder)}", Mend("remove file", str(path)))


def exports_agree(name: str, state: StudyState, home: Home) -> Iterator[Finding]:
    """What is wrong with this study's exported models under home.

    Args:
        name: The study's.
        state: The ledger's.
        home: Where the exports are.
    """
    for path in sorted(home.exports.glob(f"*/{exporting.MANIFEST}")):
        told, export = _manifest(path), path.parent
        source = told.get("source")
        if not isinstance(source, dict) or source.get("study_id") != state.study["id"]:
            continue
        job = state.jobs.get(str(source.get("job")))
        model = "best" if job is None else "champion" if job.kind == "final" else called(job).removeprefix("trial ")
        where, out = shlex.quote(str(home.path)), shlex.quote(str(export))
        advice = f"python -m fmnist_sweep export --home {where} --study {name} --model {model} --out {out}"
        trouble = _trouble(export)
        if trouble:
            yield Finding("checksum", f"export {export.name}: {trouble}", advice=advice)
        elif job is not None and job.result and told.get("weights_sha256") != job.result.weights_sha256:
            yield Finding("checksum", f"export {export.name} is not of the ledger's weights", advice=advice)


def home_agrees(home: Home) -> Iterator[Finding]:
    """What processes that were killed left in the home folder itself."""
    for folder in (home.path, home.data, home.reports):
        for path in sorted(folder.glob(".*")):
            match = SCRATCH.fullmatch(path.name) or _PROBE.fullmatch(path.name)
            if match and path.is_file() and _old(path) and not _alive(int(match[1])):
                yield Finding("scratch", f"a half-written file: {path.name}", Mend("remove file", str(path)))
    for path in sorted(home.exports.glob(".export-*")):
        if not path.is_dir() or not _old(path):
            continue
        if _trouble(path):
            what = f"a half-written export: {home.exports.name}/{path.name}"
            yield Finding("scratch", what, Mend("remove file", str(path)))
        else:  # it was about to get its name, or to make room for a newer one
            what = f"an export without its name: {home.exports.name}/{path.name}"
            yield Finding("scratch", what, advice="it is whole: give it a name without a dot, or delete it")


def _keep_models(state: StudyState) -> int:
    return SweepConfig.model_validate(state.study["config"]).study.keep_models if state.study else 0


def _weights_agree(job: JobRecord, folder: StudyFolder, retrain: str, done: bool) -> Iterator[Finding]:
    """``done``: whether nobody needs the weights any more, as the finals are judged by what the ledger has."""
    weights = folder.weights(job.key)
    sha256 = job.result.weights_sha256 if job.result else ""
    if durable.is_whole(weights, sha256):
        return
    what = f"{called(job)}: {_short(weights, folder)} {'was altered' if weights.exists() else 'is missing'}"
    if done:
        yield Finding("checksum", f"{what}; its test scores are in the ledger", Mend("drop", job.key))
        return
    mend = Mend("recover weights", job.key) if model_id(job) else None
    yield Finding("checksum", what, mend, f"only training brings them back: {retrain}")


def _unkept(job: JobRecord, folder: StudyFolder, wanted: bool) -> Iterator[Finding]:
    """Weights of an ended job that the ledger does not have as kept: its driver was killed on the way."""
    weights = folder.weights(job.key)
    if not weights.exists():
        return
    sha256 = job.result.weights_sha256 if job.result else ""
    if wanted and job.state == "complete" and not job.same_as and durable.sha256(weights) == sha256:
        yield Finding("missing", f"{called(job)}: its weights are there, but not marked as kept", Mend("keep", job.key))
    else:
        what = f"weights that are not kept: {_short(weights, folder)}"
        yield Finding("scratch", what, Mend("remove file", str(weights)))


def _checkpoint_agrees(job: JobRecord, folder: StudyFolder) -> Iterator[Finding]:
    checkpoint = folder.checkpoint(job.key)
    if not checkpoint.exists():
        return
    mend, short = Mend("remove file", str(checkpoint)), _short(checkpoint, folder)
    if job.state in ENDED:
        yield Finding("scratch", f"a checkpoint of a job that has ended: {short}", mend)
    elif durable.read_sealed(checkpoint) is None:
        yield Finding("checksum", f"{called(job)}: {short} is damaged, so it will start anew", mend)


def _strange_folders(state: StudyState, folder: StudyFolder) -> Iterator[Finding]:
    for path in sorted(folder.jobs.glob("*")):
        if path.name not in state.jobs and not SCRATCH.fullmatch(path.name):
            what = f"{_short(path, folder)} belongs to no job of the ledger"
            yield Finding("orphan", what, Mend("set aside", str(path)))


def _manifest(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _trouble(export: Path) -> str:
    try:
        exporting.read_manifest(export)
    except ExportError as error:
        return str(error)
    return ""


def _short(path: Path, folder: StudyFolder) -> str:
    return str(path.relative_to(folder.path))


def _old(path: Path) -> bool:
    """Whether nobody can still be writing it."""
    return time.time() - path.stat().st_mtime > _OLD_S


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
