"""Keeps a study in Optuna's storage to one home folder, and to one driver of that home at a time.

A home folder may be copied to another machine and the study go on there. The newest driver then has the study:
it writes its mark into the storage, and an older one that still runs sees another mark and stops.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage

from fmnist_sweep.errors import StorageError, StudyError
from fmnist_sweep.ledger import Event

OWNER = "fmnist_sweep:id"
KEY = "fmnist_sweep:trial"
_DRIVER = "fmnist_sweep:driver"
_OWNERLESS_S = 5.0  # another process that just made the study writes its name into it


class Claim:
    """The right of this driver to write to a study.

    Args:
        storage: Where the study is.
        where: The storage's address, without a password.
        name: The study's.
    """

    def __init__(self, storage: BaseStorage, where: str, name: str) -> None:
        self._storage = storage
        self._where = where
        self._name = name
        self._mark = {"mark": secrets.token_hex(8), "host": socket.gethostname(), "since": time.time()}

    def take(self, identity: str, past: Iterable[Event]) -> optuna.Study:
        """The study, made if need be, with this driver's mark on it.

        Args:
            identity: The study's id in the ledger.
            past: The ledger so far.

        Raises:
            StorageError: The study there is another's.
            StudyError: It went on from another copy of this ledger.
        """
        study, new = self._found_or_made()
        owner = identity if new else self._owner(study)
        if (owner is None and study.trials) or owner not in (None, identity):
            raise StorageError(
                f"--storage {self._where} holds another study named {self._name!r}; choose another --study"
            )
        if new or owner is None:
            study.set_user_attr(OWNER, identity)
        self._check_trials(study, past)
        study.set_user_attr(_DRIVER, self._mark)
        return study

    def check(self, study: optuna.Study) -> None:
        """Refuses to go on where a newer driver has taken the study.

        Raises:
            StudyError: One has.
        """
        found: Any = study.user_attrs.get(_DRIVER)
        if found != self._mark:
            host = found.get("host", "unknown") if isinstance(found, dict) else "unknown"
            raise StudyError(
                f"study {self._name!r} at {self._where} was taken over by another driver, on {host}; "
                "let one of them run, or choose another --study"
            )

    def elsewhere(self, number: int) -> StudyError:
        """Says that a trial in the storage is not the ledger's."""
        return StudyError(
            f"study {self._name!r} at {self._where} went on from another copy of this home folder: "
            f"trial {number} there is not this ledger's; go on with that copy, or choose another --study"
        )

    def _found_or_made(self) -> tuple[optuna.Study, bool]:
        try:
            return optuna.create_study(storage=self._storage, study_name=self._name, direction="maximize"), True
        except DuplicatedStudyError:
            return optuna.load_study(storage=self._storage, study_name=self._name), False

    def _owner(self, study: optuna.Study) -> str | None:
        deadline = time.monotonic() + _OWNERLESS_S
        while True:
            owner: str | None = study.user_attrs.get(OWNER)
            if owner is not None or study.trials or time.monotonic() > deadline:
                return owner
            time.sleep(0.1)

    def _check_trials(self, study: optuna.Study, past: Iterable[Event]) -> None:
        """The ledger is written first, so the storage can't know of a trial that the ledger doesn't.

        A trial that somebody added with Optuna's own functions is the doctor's business.
        """
        asked = {event.job for event in past if event.kind == "asked" and event.body.get("kind") == "trial"}
        if self._storage.get_n_trials(study._study_id) <= len(asked):
            return
        ours = {"", *asked}
        for trial in study.get_trials(deepcopy=False):
            if trial.user_attrs.get(KEY, "") not in ours:
                raise self.elsewhere(trial.number)
