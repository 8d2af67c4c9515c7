"""A copy of a finished study, to be damaged for real."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from fmnist_sweep.doctor import Visit, visit
from fmnist_sweep.home import Home, StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views.mlflow_client import connect
from tests.home_copies import copy_home

NAME = "smoke"


@dataclass
class Patient:
    """A copy of the finished study, to be damaged."""

    home: Home
    settings: Settings

    @property
    def folder(self) -> StudyFolder:
        return self.home.study(NAME)

    @property
    def state(self) -> StudyState:
        with closing(Ledger(self.folder.ledger)) as ledger:
            return StudyState.of(ledger.events())

    @cached_property
    def client(self) -> Any:
        return connect(self.settings.mlflow)

    @property
    def best(self) -> JobRecord:
        """The best trial, which is complete and has a model."""
        return self.state.ranked()[0]

    @property
    def experiment(self) -> str:
        return str(self.state.views["experiment_id"])

    def job(self, key: str) -> JobRecord:
        return self.state.jobs[key]

    def look(self) -> Visit:
        return visit(self.settings, NAME, fix=False, say=lambda _: None)

    def mend(self) -> Visit:
        return visit(self.settings, NAME, fix=True, say=lambda _: None)

    def sql(self, query: str, *values: object) -> None:
        with closing(sqlite3.connect(self.home.path / "mlflow.db")) as db, db:
            assert db.execute(query, values).rowcount > 0, query

    def optuna(self) -> optuna.Study:
        return optuna.load_study(study_name=NAME, storage=self.settings.optuna)

    def rewrite_trials(self, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        """Makes Optuna's study anew with other trials."""
        old = self.optuna()
        attrs, trials = old.user_attrs, change(old.trials)
        optuna.delete_study(study_name=NAME, storage=self.settings.optuna)
        new = optuna.create_study(study_name=NAME, storage=self.settings.optuna, direction="maximize")
        for name, value in attrs.items():
            new.set_user_attr(name, value)
        new.add_trials(trials)


@contextmanager
def copied(finished: Path, data_dir: Path | None, to: Path) -> Iterator[Patient]:
    """A copy of a home folder, with artifacts of its own and the original's images; gone afterwards."""
    copy_home(finished, to)
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # MLflow remembers by id where artifacts are, and the copies share ids
    try:
        yield Patient(Home(to), Settings(Home(to), data_dir=data_dir))
    finally:
        shutil.rmtree(to)
