"""Shows a study in MLflow: one experiment, a run for each job side by side, one run for the study itself.

The runs have no parent, so that the experiment's page shows the lab's nets and the trials, with their
metrics, as it opens.
"""

from __future__ import annotations

import getpass
import json
import math
from pathlib import Path
from typing import Any

from fmnist_sweep import arithmetic
from fmnist_sweep.arch import contract_params
from fmnist_sweep.errors import TrackingError
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views.mlflow_client import connect, is_local
from fmnist_sweep.views.optuna_storage import masked

STUDY_RUN = "study"


class MlflowView:
    """See ``View``.

    Args:
        uri: Of the tracking server or store.
        ledger: Where the ids that MLflow gives are recorded.
        artifacts: Where artifacts go if the store is local.
        about: By lab net, a line on what it is.
    """

    name = "MLflow"

    def __init__(self, uri: str, ledger: Ledger, artifacts: Path, about: dict[str, str]) -> None:
        self._uri = uri
        self._ledger = ledger
        self._artifacts = artifacts
        self._about = about
        self._client: Any = None
        self._study: dict[str, Any] = {}
        self._experiment = ""
        self._runs: dict[str, str] = {}
        self._uncertain = True  # whether a run may exist whose making was never recorded

    def open(self, past: list[Event]) -> None:
        """See ``View``."""
        try:
            self._client = connect(self._uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:
            raise TrackingError(f"--tracking-uri {masked(self._uri)}: {str(error).splitlines()[0]}") from None
        for event in past:
            if event.kind == "study":
                self._study = event.body
            elif event.kind == "run":
                self._runs[event.job] = event.body["run_id"]
            elif event.kind == "view":
                self._experiment = event.body.get("experiment_id", self._experiment)
                self._runs |= {STUDY_RUN: event.body["study_run_id"]} if "study_run_id" in event.body else {}
        if not self._experiment:
            self._experiment = self._make_experiment()
            self._ledger.append("view", "", 0, experiment_id=self._experiment)

    def take(self, event: Event, state: StudyState) -> None:
        """See ``View``."""
        try:
            if event.kind == "study":
                self._begin_study(event)
            elif event.kind == "summary":
                self._summarise(event)
            elif event.job in state.jobs:
                self._take_job(event, state.jobs[event.job])
        except Exception:
            self._uncertain = True
            raise
        self._uncertain = False

    def _take_job(self, event: Event, job: JobRecord) -> None:
        if event.kind == "started":
            run = self._run_of(event, job)
            if event.place > 1:
                self._client.update_run(run, status="RUNNING")
        elif event.kind == "report":
            self._report(self._run_of(event, job), event)
        elif event.kind in ("held", "paused"):
            self._client.update_run(self._run_of(event, job), status="SCHEDULED")
        elif event.kind == "ended":
            self._end(self._run_of(event, job), event, job)
        elif event.kind == "tested":
            values = {"test_accuracy": event.body["accuracy"], "test_loss": event.body["loss"]}
            self._log(self._run_of(event, job), values, 0, event.time, {})

    def _make_experiment(self) -> str:
        name, identity = self._study["name"], self._study["id"]
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = (self._artifacts / identity).resolve().as_uri() if is_local(self._uri) else None
            return str(
                self._client.create_experiment(
                    name,
                    artifact_location=location,
                    tags={"sweep.study_id": identity, "mlflow.note.content": self._study["title"]},
                )
            )
        if found.lifecycle_stage != "active":
            raise TrackingError(f"MLflow's experiment {name!r} was deleted; restore it, or choose another --study")
        if found.tags.get("sweep.study_id") != identity:
            raise TrackingError(
                f"MLflow at {masked(self._uri)} has an experiment {name!r} that is another study's; "
                "choose another --study"
            )
        return str(found.experiment_id)

    def _begin_study(self, event: Event) -> None:
        study = event.body
        tags = {"sweep.kind": "study", "sweep.net": "", "mlflow.note.content": study["title"], **self._source_tags()}
        run = self._run(STUDY_RUN, f"study {study['name']}", tags, event.time)
        params = {"seed": study["seed"], "train_images": study["train_images"], "data": study["data"]}
        self._log(run, {}, 0, event.time, {**params, **study["versions"]})
        self._client.log_text(run, json.dumps(study["config"], indent=2), "sweep.json")
        self._client.log_text(run, study["environment"], "environment.txt")
        self._client.set_terminated(run, "FINISHED", end_time=_ms(event.time))

    def _summarise(self, event: Event) -> None:
        run = self._runs[STUDY_RUN]
        text = event.body["markdown"]
        self._client.set_tag(run, "mlflow.note.content", text)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", text)
        self._client.log_text(run, text, "summary.md")
        self._client.set_terminated(run, "FINISHED", end_time=_ms(event.time))

    def _run_of(self, event: Event, job: JobRecord) -> str:
        """The run of ``job``, made at its first event, with all that is known beforehand."""
        if job.key in self._runs:
            return self._runs[job.key]
        tags = {
            "sweep.kind": job.kind,
            "sweep.trial": str(job.number) if job.kind == "trial" else job.key,
            "sweep.state": "running",
            "sweep.fingerprint": job.fingerprint,
            "sweep.net": job.arch.short,
            **self._source_tags(),
        }
        if job.same_as:
            tags["sweep.same_as"] = job.same_as
        if job.key in self._about:
            tags["mlflow.note.content"] = self._about[job.key]
        name = f"trial {job.number} · {job.arch.short}" if job.kind == "trial" else job.key
        run = self._run(job.key, name, tags, event.time)
        cost = arithmetic.cost(job.arch)
        params = {**contract_params(job.arch, job.train), "train_images": self._study["train_images"]}
        self._log(run, {"parameters": cost.parameters, "flops": cost.flops}, 0, event.time, params)
        self._log_data(run)
        return run

    def _run(self, key: str, name: str, tags: dict[str, str], when: float) -> str:
        """Makes the run of ``key``, or finds the one whose making was not recorded."""
        if key in self._runs:
            return self._runs[key]
        run = self._find(key) if self._uncertain else ""
        if not run:
            identity = {"sweep.study": self._study["name"], "sweep.study_id": self._study["id"], "sweep.job": key}
            made = self._client.create_run(
                self._experiment, start_time=_ms(when), run_name=name, tags={**tags, **identity}
            )
            run = made.info.run_id
        self._runs[key] = run
        if key == STUDY_RUN:
            self._ledger.append("view", "", 1, study_run_id=run)
        else:
            self._ledger.append("run", key, run_id=run)
        return run

    def _find(self, key: str) -> str:
        query = f"tags.`sweep.study_id` = '{self._study['id']}' AND tags.`sweep.job` = '{key}'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _report(self, run: str, event: Event) -> None:
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        values = {name: event.body[name] for name in names}
        self._log(run, values, math.floor(event.body["epoch"]), event.time, {})

    def _end(self, run: str, event: Event, job: JobRecord) -> None:
        result = job.result
        if result is not None:
            values = {
                "best_val_accuracy": result.best_val_accuracy,
                "best_epoch": result.best_epoch,
                "epochs_trained": result.epoch,
                "train_s": result.train_s,
                "images_per_s": result.images_per_s,
                "peak_memory_bytes": float(result.peak_bytes),
            }
            self._log(run, values, 0, event.time, {})
            if result.weights_sha256 and not job.same_as:
                self._client.set_tag(run, "sweep.model_sha256", result.weights_sha256)
        if job.reason:
            self._client.set_tag(run, "sweep.reason", job.reason)
        self._client.set_tag(run, "sweep.state", job.state)
        status = "FAILED" if job.state == "failed" else "FINISHED"
        self._client.set_terminated(run, status, end_time=_ms(event.time))

    def _log(self, run: str, values: dict[str, float], step: int, when: float, params: dict[str, Any]) -> None:
        from mlflow.entities import Metric, Param

        self._client.log_batch(
            run,
            metrics=[Metric(name, float(value), _ms(when), step) for name, value in values.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )

    def _log_data(self, run: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = self._study["data_set"]
        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=f"{data['name']}-{part}",
                    digest=data["fingerprint"],
                    source_type="local",
                    source=json.dumps({"files": data["files"]}),
                    schema=json.dumps({"image": data["image_shape"], "dtype": "uint8", "classes": data["classes"]}),
                    profile=json.dumps({"images": data[part]}),
                ),
                tags=[InputTag("mlflow.data.context", part)],
            )
            for part in ("training", "validation")
        ]
        self._client.log_inputs(run, inputs)

    def _source_tags(self) -> dict[str, str]:
        tags = {"mlflow.user": _user(), "mlflow.source.name": "fmnist_sweep", "mlflow.source.type": "LOCAL"}
        if self._study["git_commit"]:
            tags["mlflow.source.git.commit"] = self._study["git_commit"]
        return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
