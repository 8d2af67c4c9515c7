"""Reads one study back from Optuna's storage, through Optuna's own functions, and changes nothing."""

from __future__ import annotations

import optuna

from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import StorageError
from fmnist_sweep.sqlite_birth import file_of
from fmnist_sweep.views.optuna_claim import OWNER
from fmnist_sweep.views.optuna_open import line, storage_at
from fmnist_sweep.views.seen import SeenOptuna, SeenTrial


def read(uri: str, study: str, identity: str) -> SeenOptuna:
    """What the storage has of a study.

    Args:
        uri: Of the storage.
        study: Its name there.
        identity: The study's id.

    Raises:
        StorageError: The storage can't be read.
    """
    path = file_of(uri)
    if path is not None and not path.exists():  # opening it would make it
        return SeenOptuna("missing")
    try:
        storage = storage_at(uri)
        if study not in optuna.get_all_study_names(storage):
            return SeenOptuna("missing")
        found = optuna.load_study(study_name=study, storage=storage)
        if found.user_attrs.get(OWNER) != identity:
            return SeenOptuna("another's")
        return SeenOptuna("here", tuple(_seen(trial) for trial in found.get_trials(deepcopy=False)))
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(f"--storage {masked(uri)} can't be read: {line(error)}") from None


def _seen(trial: optuna.trial.FrozenTrial) -> SeenTrial:
    return SeenTrial(
        number=trial.number,
        state=trial.state.name,
        params=trial.params,
        value=trial.value,
        curve=trial.intermediate_values,
        attrs=trial.user_attrs,
    )
