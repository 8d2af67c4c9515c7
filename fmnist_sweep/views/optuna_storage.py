"""Shows a study in an Optuna storage, for Optuna's dashboard and for whoever reads studies with Optuna."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import FatalError, StorageError
from fmnist_sweep.ledger import Event
from fmnist_sweep.proposers.optuna import distributions
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views.mirror import replay
from fmnist_sweep.views.optuna_claim import KEY, OWNER, Claim
from fmnist_sweep.views.optuna_open import line, storage_at

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


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
        self._claim: Claim | None = None

    def open(self, past: list[Event]) -> None:
        """See ``View``."""
        identity = next(event.body["id"] for event in past if event.kind == "study")
        self._storage = storage_at(self._uri)
        self._claim = Claim(self._storage, masked(self._uri), self._study_name)
        try:
            self._study = self._claim.take(identity, past)
            self._retell(past)
        except FatalError:
            raise
        except Exception as error:
            raise StorageError(f"--storage {masked(self._uri)} can't be opened: {line(error)}") from None

    def _retell(self, past: list[Event]) -> None:
        """Shows all that happened to the trials that are missing there, as in a storage that was lost."""
        asked = [event.job for event in past if event.kind == "asked" and event.body.get("kind") == "trial"]
        there = self._opened()._storage.get_n_trials(self._opened()._study_id)
        if there < len(asked):
            replay(self, past, asked[there:])

    def take(self, event: Event, state: StudyState) -> None:
        """See ``View``."""
        job = state.jobs.get(event.job)
        if job is None or job.kind != "trial" or event.kind not in self.shows:
            return
        try:
            self._show(event, job, state)
        except StorageInternalError as error:
            raise StorageError(f"--storage {masked(self._uri)}: {line(error)}") from None

    def _show(self, event: Event, job: JobRecord, state: StudyState) -> None:
        if self._claim is not None:
            self._claim.check(self._opened())
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
        found = self._found(job.number)
        if found is not None:
            if self._claim is not None and found.user_attrs.get("fingerprint", job.fingerprint) != job.fingerprint:
                raise self._claim.elsewhere(job.number)
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


def move_aside(uri: str, study: str, to: str, owner: str = "") -> None:
    """Renames a study in a storage, if it is there.

    Args:
        uri: Of the storage.
        study: Its name.
        to: Its new name.
        owner: Id of the study that it must be of, as others may have one of that name there; "" for whosever it is.

    Raises:
        StorageError: The storage can't be used.
    """
    storage = storage_at(uri)
    try:
        if study not in optuna.get_all_study_names(storage):
            return
        whose = optuna.load_study(study_name=study, storage=storage).user_attrs.get(OWNER)
        if not owner or whose == owner:
            optuna.copy_study(from_study_name=study, from_storage=storage, to_storage=storage, to_study_name=to)
            optuna.delete_study(study_name=study, storage=storage)
    except Exception as error:
        raise StorageError(f"--storage {masked(uri)}: {line(error)}") from None
