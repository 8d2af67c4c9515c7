"""Puts a study aside under another name, in its folder, in MLflow and in Optuna's storage; nothing of it is lost.

A damaged ledger is no hindrance: what is still readable says which experiment is the study's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from fmnist_sweep import study
from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import FatalError, StudyError, first_line
from fmnist_sweep.home import MAX_NAME, StudyFolder
from fmnist_sweep.ledger import Event
from fmnist_sweep.settings import Settings
from fmnist_sweep.views.mlflow_client import connect, is_of


@dataclass(frozen=True, slots=True)
class _Known:
    """What a ledger, whole or damaged, says of its study; "" where it doesn't say."""

    whole: bool
    identity: str
    experiment: str
    storage: str | None

    @classmethod
    def of(cls, events: list[Event], whole: bool) -> _Known:
        identity = next((event.body["id"] for event in events if event.kind == "study"), "")
        shown = [event.body["experiment_id"] for event in events if "experiment_id" in event.body]
        stored = [event.body["storage"] for event in events if "storage" in event.body]
        return cls(whole, identity, shown[-1] if shown else "", stored[-1] if stored else None)


def move_aside(settings: Settings, name: str) -> str:
    """Gives a study another name, everywhere, and returns that name.

    Raises:
        StudyError: It is being run, or too little of its ledger is readable to say what is the study's elsewhere.
        FatalError: MLflow can't rename its experiment.
        StorageError: Optuna's storage can't be used.
    """
    folder = settings.home.study(name)
    with folder.locked():
        known = _known(folder, settings, name)
        at = study.at_its_storage(settings, known.storage)
        stamp = f"-{time.strftime('%Y%m%d-%H%M%S')}"
        aside = name[: MAX_NAME - len(stamp)] + stamp
        path = settings.home.study(aside).path
        from fmnist_sweep.views import optuna_open, optuna_storage

        optuna_open.storage_at(at.optuna)  # it, too, before anything is renamed
        try:
            _rename_experiment(settings, known, name, aside)
        except Exception as error:
            raise FatalError(f"MLflow can't rename experiment {name!r}: {first_line(error)}") from None
        optuna_storage.move_aside(at.optuna, name, aside, known.identity)
        folder.path.rename(path)
    return aside


def _known(folder: StudyFolder, settings: Settings, name: str) -> _Known:
    known = _Known.of(*study.recorded(folder, damaged_too=True))
    elsewhere = settings.tracking_uri or settings.storage
    if not known.whole and not known.identity and elsewhere:
        raise StudyError(
            f"ledger {folder.ledger} is damaged, and nothing in it can be read, so whether {name!r} at "
            f"{masked(elsewhere)} is this study can't be told; choose another --study"
        )
    return known


def _rename_experiment(settings: Settings, known: _Known, name: str, aside: str) -> None:
    """Renames the study's experiment, if it has one there; another's that has its number, as on another server, is not.

    A damaged ledger may not say which. Then it is that of the study's name and id; and where even the id is lost, the
    store is that under home, which has no other study of that name.
    """
    if known.experiment:
        client = connect(settings.mlflow)
        try:
            found = client.get_experiment(known.experiment)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                raise
            return
        if is_of(found, known.identity, name):
            if found.lifecycle_stage != "active":
                client.restore_experiment(known.experiment)  # one that is deleted keeps its name from all others
            client.rename_experiment(known.experiment, aside)
    elif not known.whole:
        client = connect(settings.mlflow)
        found = client.get_experiment_by_name(name)
        if found is not None and known.identity in ("", found.tags.get("sweep.study_id")):
            client.rename_experiment(found.experiment_id, aside)
