"""One look at a study: reads ledger, files, MLflow and Optuna's storage, and says what does not agree."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from fmnist_sweep import study
from fmnist_sweep.addresses import masked
from fmnist_sweep.doctor import comparison, files, records
from fmnist_sweep.doctor.findings import Finding, Mend
from fmnist_sweep.doctor.records import Record
from fmnist_sweep.doctor.trials import trials_agree
from fmnist_sweep.doctor.words import count
from fmnist_sweep.errors import DamagedLedgerError, LedgerError, StorageError, TrackingError
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import mlflow_seen, optuna_seen
from fmnist_sweep.views.mlflow_client import address
from fmnist_sweep.views.mlflow_runs import MlflowView
from fmnist_sweep.views.optuna_storage import OptunaView
from fmnist_sweep.views.seen import SeenMlflow, SeenOptuna

_VIEWS = (MlflowView, OptunaView)


@dataclass(slots=True)
class Look:
    """What one look found.

    Attributes:
        settings: As given, with the storage that the study was run with.
        findings: What does not agree.
        record: The ledger; None where it can't be read.
        mlflow: What MLflow has; None where it can't be read.
        optuna: What Optuna's storage has; None where it can't be read.
    """

    settings: Settings
    findings: list[Finding] = field(default_factory=list)
    record: Record | None = None
    mlflow: SeenMlflow | None = None
    optuna: SeenOptuna | None = None


def look(settings: Settings, name: str, *, live: bool) -> Look:
    """Looks at one study and changes nothing.

    Args:
        settings: Which home, MLflow and storage.
        name: The study's.
        live: Whether a driver is at work on it.
    """
    found, folder = Look(settings), settings.home.study(name)
    try:
        record = records.read(folder.ledger, [view.name for view in _VIEWS])
    except DamagedLedgerError as error:
        anew = f"python -m fmnist_sweep run --study {name} --fresh --home {shlex.quote(str(settings.home.path))}"
        advice = f"restore it from a backup, or start anew, which keeps this one under another name: {anew}"
        found.findings.append(Finding("ledger", str(error).partition("; ")[0], advice=advice))
        return found
    except LedgerError as error:  # a lock, a full disk, a newer release: nothing is lost
        what, _, advice = str(error).partition("; ")
        found.findings.append(Finding("ledger", what, advice=advice))
        return found
    state = record.state
    if not state.study:
        return found
    found.record = record
    if not live:
        found.findings += files.files_agree(state, folder, retrain(settings, name, state))
        found.findings += files.exports_agree(name, state, settings.home)
        found.findings += comparison.zombies(state)
        found.findings += _behind(record)
    _look_at_mlflow(found, record, settings, name, live)
    _look_at_optuna(found, record, settings, name, live)
    return found


def retrain(settings: Settings, name: str, state: StudyState) -> str:
    """The command that trains a study again, the old one kept under another name."""
    trials = len(state.trials())
    words = f"run --study {name} --fresh --trials {trials}" if trials else f"lab --study {name}-again"
    return f"python -m fmnist_sweep {words} --home {shlex.quote(str(settings.home.path))}"


def _behind(record: Record) -> Iterator[Finding]:
    for view in _VIEWS:
        events = record.behind(view.name, view.shows)
        if events:
            what = f"{view.name} was not told the last {count(len(events), 'event')} of the ledger"
            yield Finding("behind", what, Mend("catch up"))


def _look_at_mlflow(found: Look, record: Record, settings: Settings, name: str, live: bool) -> None:
    state = record.state
    try:
        seen = mlflow_seen.read(settings.mlflow, state, name)
    except TrackingError as error:
        found.findings.append(Finding("unreachable", str(error)))
        return
    recorded, asked = state.views.get("tracking_uri", ""), address(settings.mlflow, settings.home)
    if seen.experiment in ("missing", "another's") and state.views.get("experiment_id") and recorded != asked:
        what = f"MLflow at {masked(settings.mlflow)} does not have this study"
        advice = f"it was shown elsewhere: --tracking-uri {recorded or settings.home.mlflow_uri}"
        found.findings.append(Finding("unreachable", what, advice=advice))
        return
    found.mlflow = seen
    told = record.up_to_date(MlflowView.name, MlflowView.shows)
    found.findings += comparison.mlflow_agrees(state, seen, comparison.comparable(state, told, live), live)


def _look_at_optuna(found: Look, record: Record, settings: Settings, name: str, live: bool) -> None:
    state = record.state
    try:
        found.settings = study.at_its_storage(settings, state.storage)
        seen = optuna_seen.read(found.settings.optuna, name, state.study["id"])
    except StorageError as error:
        found.findings.append(Finding("unreachable", str(error)))
        return
    asked = study.storage_address(found.settings)
    if seen.study == "missing" and state.storage is not None and asked != state.storage:
        what = f"Optuna's storage at {masked(found.settings.optuna)} does not have this study"
        advice = f"it was shown elsewhere: --storage {state.storage or settings.home.optuna_uri}"
        found.findings.append(Finding("unreachable", what, advice=advice))
        return
    found.optuna = seen
    told = record.up_to_date(OptunaView.name, OptunaView.shows)
    found.findings += trials_agree(state, seen, comparison.comparable(state, told, live), live)
