"""Mends a study from its ledger, which is the truth: every repair may be interrupted, and done again.

Whoever calls this holds the study. MLflow's client deletes nothing for good: what is deleted here can be
restored there.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, get_args

from fmnist_sweep import data as datasets
from fmnist_sweep import durable, lab, publish
from fmnist_sweep.doctor.findings import How, Mend
from fmnist_sweep.doctor.look import Look
from fmnist_sweep.doctor.models import model_id, owner, sound
from fmnist_sweep.doctor.recover import recover
from fmnist_sweep.errors import FatalError, first_line
from fmnist_sweep.executors.local import call
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.publish import Publication
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views import Mirror, View, optuna_storage
from fmnist_sweep.views.mirror import replay
from fmnist_sweep.views.mlflow_client import connect, is_of
from fmnist_sweep.views.mlflow_runs import MlflowView
from fmnist_sweep.views.optuna_storage import OptunaView
from fmnist_sweep.views.shown import STUDY_RUN

_DELIVERY_S = 120.0


class Mender:
    """Does repairs on one study.

    Args:
        settings: Which home, MLflow and storage.
        name: The study's.
        ledger: Its ledger, open.
        look: What was found.
    """

    def __init__(self, settings: Settings, name: str, ledger: Ledger, look: Look) -> None:
        self._settings = settings
        self._name = name
        self._ledger = ledger
        self._look = look
        self._folder = settings.home.study(name)
        self._done: set[str] = set()  # jobs that MLflow shows anew
        self._ways: dict[How, Callable[[list[str]], None]] = {
            "pause": self._pause,
            "keep": lambda keys: self._tell("kept", keys),
            "drop": lambda keys: self._tell("dropped", keys),
            "restore experiment": self._restore_experiment,
            "begin MLflow anew": self._begin_anew,
            "restore run": lambda runs: _each(self._client.restore_run, runs),
            "delete run": lambda runs: _each(self._client.delete_run, runs),
            "replace run": self._replace_runs,
            "show in MLflow": self._show_in_mlflow,
            "show in Optuna": lambda _: self._show_in_optuna(),
            "replace in Optuna": lambda _: self._replace_in_optuna(),
            "catch up": lambda _: self._catch_up(),
            "recover weights": self._recover,
            "delete model": lambda models: _each(self._client.delete_logged_model, models),
            "link model": self._link_models,
            "log model": self._log_models,
            "crown": self._crown,
            "remove file": lambda paths: _each(remove, paths),
            "set aside": lambda paths: _each(self._set_aside, paths),
        }

    def mend(self, wanted: Iterable[Mend]) -> dict[Mend, str]:
        """Does all that is wanted, what others build on first.

        Returns:
            What could not be done, and why.
        """
        targets: dict[How, list[str]] = defaultdict(list)
        for mend in dict.fromkeys(wanted):
            targets[mend.how].append(mend.target)
        if "pause" in targets:
            targets["catch up"] = [""]
        if targets:  # or what is recorded now would make the time since the last run the study's
            self._ledger.append("session", "", len(self._ledger.events()))
        failed: dict[Mend, str] = {}
        for how in get_args(How):
            if how in targets:
                try:
                    self._ways[how](targets[how])
                except Exception as error:
                    failed |= {Mend(how, target): first_line(error) for target in targets[how]}
        return failed

    @property
    def _state(self) -> StudyState:
        return StudyState.of(self._ledger.events())

    @property
    def _client(self) -> Any:
        return connect(self._settings.mlflow)

    def _tell(self, kind: str, keys: Iterable[str], **body: str) -> None:
        """Appends an event that may have happened to the same job before."""
        events = self._ledger.events()
        for key in keys:
            place = sum(event.kind == kind and event.job == key for event in events)
            self._ledger.append(kind, key, place, **body)

    # --- the ledger

    def _pause(self, keys: list[str]) -> None:
        state = self._state
        for key in keys:
            self._ledger.append("paused", key, state.jobs[key].attempts)

    # --- MLflow's runs

    def _mlflow_view(self) -> MlflowView:
        return MlflowView(self._settings.mlflow, self._ledger, self._settings.home.artifacts, lab.ABOUT, self._name)

    def _restore_experiment(self, _: list[str]) -> None:
        self._client.restore_experiment(self._state.views["experiment_id"])

    def _begin_anew(self, _: list[str]) -> None:
        """Forgets all of MLflow's ids, then shows everything in a new experiment.

        Raises:
            FatalError: The study's name is another's there; nothing is forgotten.
        """
        held = self._client.get_experiment_by_name(self._name)
        if held is not None and not is_of(held, self._state.study["id"], ""):
            raise FatalError(f"MLflow has an experiment {self._name!r} that is another study's; rename that one first")
        self._tell("view", [""], experiment_id="", study_run_id="")
        self._tell("run", [job.key for job in self._state.jobs.values() if job.run_id], run_id="")
        self._show([STUDY_RUN, *self._state.jobs])

    def _replace_runs(self, keys: list[str]) -> None:
        """Deletes runs that can't be corrected, and makes others in their place."""
        state = self._state
        for key in keys:
            run = state.views.get("study_run_id", "") if key == STUDY_RUN else state.jobs[key].run_id
            if self._look.mlflow is not None and run in self._look.mlflow.runs:
                self._client.delete_run(run)  # before it is forgotten, or it would be found again by its tags
            if key == STUDY_RUN:
                self._tell("view", [""], study_run_id="")
            else:
                self._tell("run", [key], run_id="")
        self._show(keys)

    def _show_in_mlflow(self, keys: list[str]) -> None:
        left = [key for key in keys if key not in self._done]
        if left:
            self._show(left)

    def _show(self, keys: Collection[str]) -> None:
        view = self._mlflow_view()
        events = self._ledger.events()
        view.open(events)
        view.describe_again(keys)
        replay(view, events, {"" if key == STUDY_RUN else key for key in keys})
        self._done.update(keys)

    # --- Optuna's trials

    def _show_in_optuna(self) -> None:
        view = OptunaView(self._settings.optuna, self._name)
        events = self._ledger.events()
        view.open(events)
        replay(view, events, set(self._state.jobs))

    def _replace_in_optuna(self) -> None:
        """Gives the study there another name, with all that is in it, and makes it anew."""
        aside = f"{self._name}-{time.strftime('%Y%m%d-%H%M%S')}-aside"
        optuna_storage.move_aside(self._settings.optuna, self._name, aside)
        self._show_in_optuna()

    # --- both

    def _catch_up(self) -> None:
        ways: list[tuple[Any, Callable[[], View]]] = [
            (self._look.mlflow, self._mlflow_view),
            (self._look.optuna, lambda: OptunaView(self._settings.optuna, self._name)),
        ]
        mirrors = [Mirror(self._ledger, make) for seen, make in ways if seen is not None]
        try:
            behind = [mirror.trouble for mirror in mirrors if not mirror.drain(_DELIVERY_S)]
        finally:
            for mirror in mirrors:
                mirror.close()
        if behind:
            raise FatalError("; ".join(behind))

    # --- models

    def _example(self) -> Path:
        """A file of images."""
        section = SweepConfig.model_validate(self._state.study["config"]).data
        source = datasets.source_of(section, self._settings.data_dir, fetch=False)
        return datasets.prepare(source, self._settings.home.data).images

    def _publication(self, job: JobRecord) -> Publication:
        return publish.publication(job, self._folder, self._state.study["data_set"]["classes"])

    def _recover(self, keys: list[str]) -> None:
        state, seen = self._state, self._look.mlflow
        jobs = [state.jobs[key] for key in keys]
        lost = [job for job in jobs if seen is None or not sound(job, seen.models.get(model_id(job)))]
        _each(self._recover_one, [job.key for job in jobs if job not in lost])
        if lost:
            raise FatalError("MLflow has no whole model of these weights")

    def _recover_one(self, key: str) -> None:
        job, weights = self._state.jobs[key], self._folder.weights(key)
        sha256 = job.result.weights_sha256 if job.result else ""
        call(recover, self._settings.mlflow, model_id(job), job.arch, weights, sha256, log=self._folder.log)

    def _link_models(self, keys: list[str]) -> None:
        state = self._state
        for key in keys:
            job = state.jobs[key]
            publish.link(self._client, job.run_id, owner(state, job).model_uri)

    def _log_models(self, keys: list[str]) -> None:
        """Logs kept models again, instead of what is left of them."""
        state, seen, example = self._state, self._look.mlflow, self._example()
        found = [self._publication(state.jobs[key]) for key in keys]
        items = [item for item in found if durable.is_whole(item.weights, item.sha256)]
        ready = {item.key for item in items}
        for key in ready:
            model = model_id(state.jobs[key])
            if seen is not None and model in seen.models:
                self._client.delete_logged_model(model)
        if items:
            logged = call(publish.publish, self._settings.mlflow, items, example, log=self._folder.log)
            for key, model_uri in logged.items():
                self._tell("model", [key], model_uri=model_uri)
            publish.link_twins(self._settings.mlflow, self._state)
        if len(ready) < len(found):
            raise FatalError("weights to log are missing or were altered")

    def _crown(self, _: list[str]) -> None:
        state = self._state
        heir = publish.heir(state)
        if heir is None or not state.jobs[heir[0]].model_uri:
            raise FatalError("there is no logged model to give the alias to")
        job = state.jobs[heir[0]]
        publish.crown(self._settings.mlflow, self._publication(job), job.model_uri, heir[1])

    # --- files

    def _set_aside(self, text: str) -> None:
        """Moves a folder out of the way; nothing in it is lost."""
        path, aside = Path(text), self._folder.path / "aside"
        aside.mkdir(exist_ok=True)
        target = aside / path.name
        while target.exists():
            target = target.with_name(f"{target.name}+")
        if path.exists():
            path.rename(target)


def _each(do: Callable[[str], object], targets: Iterable[str]) -> None:
    """Does it to every target, even where one fails; raises what the last failure raised."""
    failed: Exception | None = None
    for target in targets:
        try:
            do(target)
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed


def remove(text: str) -> None:
    """Removes a file, or a folder with all that is in it; nothing where it has gone already."""
    path = Path(text)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
