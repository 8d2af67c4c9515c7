"""Shows a study in an Optuna storage, for Optuna's dashboard and for whoever reads studies with Optuna."""

from __future__ import annotations

import re
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from fmnist_sweep.errors import StorageError
from fmnist_sweep.ledger import Event
from fmnist_sweep.proposers.optuna import distributions
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.sqlite_birth import born
from fmnist_sweep.state import JobRecord, StudyState

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
KEY = "fmnist_sweep:trial"


class OptunaView:
    """See ``View``. Each trial is there from when it was asked for, under the ledger's number.

    It is running while a worker trains it, and waiting before that, while it is set aside and while it is paused.

    Args:
        uri: SQLAlchemy's address of the storage.
        study: Its name there.
    """

    name = "Optuna's storage"
    shows = frozenset({"asked", "started", "held", "paused", "ended"})

    def __init__(self, uri: str, study: str) -> None:
        self._uri = uri
        self._study_name = study
        self._study: optuna.Study | None = None
        self._storage: BaseStorage | None = None

    def open(self, past: list[Event]) -> None:
        """See ``View``."""
        identity = next(event.body["id"] for event in past if event.kind == "study")
        try:
            born(self._uri, optuna.storages.RDBStorage)
            self._storage = optuna.storages.get_storage(self._uri)
            self._study = optuna.create_study(
                storage=self._storage, study_name=self._study_name, direction="maximize", load_if_exists=True
            )
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise StorageError(f"--storage {masked(self._uri)}: {str(error).splitlines()[0]}") from None
        except Exception as error:
            raise StorageError(f"--storage {masked(self._uri)} can't be opened: {str(error).splitlines()[0]}") from None
        owner = self._study.user_attrs.get("fmnist_sweep:id")
        if (owner is None and self._study.trials) or owner not in (None, identity):
            raise StorageError(
                f"--storage {masked(self._uri)} holds another study named {self._study_name!r}; choose another --study"
            )
        if owner is None:
            self._study.set_user_attr("fmnist_sweep:id", identity)

    def take(self, event: Event, state: StudyState) -> None:
        """See ``View``."""
        job = state.jobs.get(event.job)
        if job is None or job.kind != "trial":
            return
        if event.kind == "asked":
            self._add(job, state)
        elif event.kind == "started":
            self._set(job, TrialState.RUNNING)
        elif event.kind in ("held", "paused"):
            self._set(job, TrialState.WAITING)
        elif event.kind == "ended":
            self._end(job)

    def _add(self, job: JobRecord, state: StudyState) -> None:
        study = self._opened()
        if self._found(job.number) is not None:
            return
        config = SweepConfig.model_validate(state.study["config"])
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=job.drawn,
                distributions=distributions(
                    config, job.drawn, input_shape=job.arch.input_shape, classes=job.arch.classes
                ),
                user_attrs={KEY: job.key, "net": job.arch.short, "fingerprint": job.fingerprint},
            )
        )

    def _end(self, job: JobRecord) -> None:
        study = self._opened()
        frozen = self._set(job, TrialState.RUNNING)  # Optuna can't be told of a trial that waits
        if frozen.state.is_finished():
            return
        trial = Trial(study, frozen._trial_id)
        for report in job.reports:
            if report.place not in frozen.intermediate_values:
                trial.report(report.val_accuracy, report.place)
        if job.reason:
            trial.set_user_attr("reason", job.reason)
        if job.state == "complete":
            study.tell(job.number, job.best)
        else:
            study.tell(job.number, state=STATES[job.state])

    def _set(self, job: JobRecord, state: TrialState) -> FrozenTrial:
        """Moves a trial that has not ended to ``state``; returns the trial as it was."""
        frozen = self._found(job.number)
        if frozen is None:
            raise StorageError(f"--storage {masked(self._uri)}: trial {job.number} of {self._study_name!r} is gone")
        if self._storage is not None and not frozen.state.is_finished() and frozen.state != state:
            self._storage.set_trial_state_values(frozen._trial_id, state)
        return frozen

    def _found(self, number: int) -> FrozenTrial | None:
        """One trial: to read the whole list takes longer the more trials wait."""
        storage, study_id = self._opened()._storage, self._opened()._study_id
        try:
            found: FrozenTrial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
        except KeyError:
            return None
        return found

    def _opened(self) -> Any:
        if self._study is None:
            raise StorageError("Optuna's storage is not open")
        return self._study


def masked(uri: str) -> str:
    """``uri`` with a password, if there is one, replaced by ***."""
    uri = re.sub(r"(//[^/?#:@]*):.*@", r"\1:***@", uri)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&#]*", r"\1***", uri, flags=re.IGNORECASE)


def move_aside(uri: str, study: str, to: str) -> None:
    """Renames a study in a storage, if it is there.

    Raises:
        StorageError: The storage can't be used.
    """
    try:
        if study in optuna.get_all_study_names(uri):
            optuna.copy_study(from_study_name=study, from_storage=uri, to_storage=uri, to_study_name=to)
            optuna.delete_study(study_name=study, storage=uri)
    except Exception as error:
        raise StorageError(f"--storage {masked(uri)}: {str(error).splitlines()[0]}") from None
