"""Shows a study in MLflow: one experiment, a run for each job side by side, one run for the study itself.

The runs have no parent, so that the experiment's page shows the lab's nets and the trials, with their
metrics, as it opens.
"""

from __future__ import annotations

import getpass
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import TrackingError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.trial import Report
from fmnist_sweep.views import pages, shown
from fmnist_sweep.views.mirror import AwayError, replay
from fmnist_sweep.views.mlflow_client import address, connect, is_of, is_server, may_come_back
from fmnist_sweep.views.shown import STUDY_RUN

_GONE = "RESOURCE_DOES_NOT_EXIST"
_NOTE = "mlflow.note.content"  # shown as the description, as Markdown
_LONGEST_NOTE = 5_000  # what any release of MLflow takes as a tag of an experiment; a run's it cuts itself


class MlflowView:
    """See ``View``.

    Args:
        uri: Of the tracking server or store.
        ledger: Where the ids that MLflow gives are recorded.
        artifacts: Where artifacts go unless a server keeps them.
        about: By lab net, a line on what it is.
        called: The study's name now, which is its experiment's; by default the one that it began with.
    """

    name = "MLflow"
    shows = frozenset({"study", "summary", "started", "report", "held", "paused", "ended", "tested"})

    def __init__(self, uri: str, ledger: Ledger, artifacts: Path, about: dict[str, str], called: str = "") -> None:
        self._uri = uri
        self._called = called
        self._ledger = ledger
        self._artifacts = artifacts
        self._about = about
        self._client: Any = None
        self._study: dict[str, Any] = {}
        self._experiment = ""
        self._pages = ""  # keys of the views that are saved on the experiment's page
        self._runs: dict[str, str] = {}
        self._told: Counter[tuple[str, str]] = Counter()  # ids recorded so far, by kind and job
        self._unclear: set[str] = set()  # jobs whose run is to be described again
        self._past = 0  # seq of the last event that an earlier driver may have shown in part
        self._uncertain = True  # whether a run may exist whose making was never recorded

    def open(self, past: list[Event]) -> None:
        """See ``View``."""
        try:
            self._client = connect(self._uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:
            what = f"--tracking-uri {masked(self._uri)}: {str(error).splitlines()[0]}"
            raise (AwayError if may_come_back(self._uri, error) else TrackingError)(what) from None
        self._told.clear()
        for event in past:
            self._past = event.seq
            if event.kind == "study":
                self._study = event.body
                self._called = self._called or event.body["name"]
            elif event.kind == "run":
                self._runs[event.job] = event.body["run_id"]
            elif event.kind == "view":
                self._experiment = event.body.get("experiment_id", self._experiment)
                self._pages = event.body.get("pages", self._pages)
                self._runs |= {STUDY_RUN: event.body["study_run_id"]} if "study_run_id" in event.body else {}
            self._told[event.kind, event.job] += 1
        try:
            if self._experiment:
                self._check_experiment()
                return
            self._experiment = self._make_experiment()
        except Exception as error:
            if may_come_back(self._uri, error):
                raise AwayError(str(error).splitlines()[0]) from None
            raise
        where = address(self._uri, Home(self._artifacts.parent))
        self._record("view", "", experiment_id=self._experiment, tracking_uri=where)

    def describe_again(self, jobs: Iterable[str]) -> None:
        """Lets the next event of each of these jobs show all that is known of it beforehand, as the first one did."""
        self._unclear.update(jobs)

    def take(self, event: Event, state: StudyState) -> None:
        """See ``View``."""
        self._uncertain |= event.seq <= self._past
        try:
            self._show(event, state)
        except Exception as error:
            self._uncertain = True
            key = event.job or STUDY_RUN
            if self._is_gone(key, error):
                self._forget(key)
                replay(self, [past for past in self._ledger.events() if past.seq < event.seq], {event.job})
            elif not self._restored(key, error):
                raise
            self._show(event, state)
        self._uncertain = False

    def _show(self, event: Event, state: StudyState) -> None:
        if event.kind == "study":
            self._begin_study(event, state)
        elif event.kind == "summary":
            self._summarise(event, state)
        elif event.job in state.jobs:
            self._take_job(event, state.jobs[event.job])

    def _restored(self, key: str, error: Exception) -> bool:
        """Whether ``error`` was that somebody had deleted the run, or the experiment, which is there again now.

        MLflow writes to none that is deleted, and what comes later would wait for it for ever.
        """
        if "'active' state" not in str(error):
            return False
        experiment = self._client.get_experiment(self._experiment)
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(self._experiment)  # and its runs with it
            return True
        run = self._runs.get(key, "")
        if not run or self._client.get_run(run).info.lifecycle_stage == "active":
            return False
        self._client.restore_run(run)
        return True

    def _is_gone(self, key: str, error: Exception) -> bool:
        """Whether ``error`` was that the run is gone for good, as where MLflow was restored from an older backup."""
        run = self._runs.get(key, "")
        if not run or getattr(error, "error_code", "") != _GONE:
            return False
        try:
            self._client.get_run(run)
        except Exception as missing:
            return getattr(missing, "error_code", "") == _GONE
        return False

    def _forget(self, key: str) -> None:
        """Lets the next event of ``key`` make its run anew."""
        self._runs[key] = ""
        if key == STUDY_RUN:
            self._record("view", "", study_run_id="")
        else:
            self._record("run", key, run_id="")

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
            self._log(self._run_of(event, job), shown.tested_metrics(job), 0, event.time)

    def _check_experiment(self) -> None:
        """Raises TrackingError if the experiment that was recorded is none of this study's here: on another server, or
        on one that was restored from an older backup, the same number is another study's or nobody's. One that was
        deleted is restored."""
        where = f"MLflow at {masked(self._uri)}"
        advice = "choose the --tracking-uri that the study was run with, or let doctor --fix show it here anew"
        try:
            found = self._client.get_experiment(self._experiment)
        except Exception as error:
            if getattr(error, "error_code", "") != _GONE:
                raise
            raise TrackingError(f"{where} has no experiment {self._experiment}, the study's; {advice}") from None
        if not is_of(found, self._study["id"], self._called):
            raise TrackingError(f"{where} has another experiment {self._experiment}, {found.name!r}; {advice}")
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(self._experiment)

    def _make_experiment(self) -> str:
        name, identity = self._called, self._study["id"]
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if is_server(self._uri) else (self._artifacts / identity).resolve().as_uri()
            return str(
                self._client.create_experiment(
                    name,
                    artifact_location=location,
                    tags={"sweep.study_id": identity, _NOTE: self._study["title"]},
                )
            )
        if found.tags.get("sweep.study_id") != identity:
            raise TrackingError(
                f"MLflow at {masked(self._uri)} has an experiment {name!r} that is another study's; "
                "choose another --study"
            )
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _begin_study(self, event: Event, state: StudyState) -> None:
        self._client.set_terminated(self._study_run(event.time), "FINISHED", end_time=_ms(event.time))
        self._save_views(state)

    def _study_run(self, when: float) -> str:
        """The run that stands for the study, made when it is first needed."""
        known = self._runs.get(STUDY_RUN, "")
        if known and STUDY_RUN not in self._unclear:
            return known
        study, tags = self._study, shown.study_tags(self._study)
        note = {_NOTE: study["title"]}
        run = known or self._run(STUDY_RUN, f"study {study['name']}", {**tags, **note, **self._source_tags()}, when)
        self._log(run, {}, 0, when, shown.study_params(study), tags if known else {})
        self._client.log_text(run, json.dumps(study["config"], indent=2), "sweep.json")
        self._client.log_text(run, study["environment"], "environment.txt")
        self._keep(STUDY_RUN, run, known)
        return run

    def _summarise(self, event: Event, state: StudyState) -> None:
        run = self._study_run(event.time)
        text = event.body["markdown"]
        self._client.set_tag(run, _NOTE, text)
        self._client.set_experiment_tag(self._experiment, _NOTE, shown.cut(text, _LONGEST_NOTE))
        self._client.log_text(run, text, "summary.md")
        self._save_views(state)
        self._client.set_terminated(run, "FINISHED", end_time=_ms(event.time))

    def _save_views(self, state: StudyState) -> None:
        """Offers on the experiment's page what ``pages`` has."""
        views = pages.saved_views(state)
        for key, value in views.items():
            self._client.set_experiment_tag(self._experiment, key, value)
        keys = " ".join(key.removeprefix(pages.TAG) for key in views)
        if self._pages != keys:
            self._record("view", "", pages=keys)
            self._pages = keys

    def _run_of(self, event: Event, job: JobRecord) -> str:
        """The run of ``job``, made at its first event, with all that is known beforehand."""
        known = self._runs.get(job.key, "")
        if known and job.key not in self._unclear:
            return known
        tags = shown.birth_tags(self._study, job)
        looks = {**shown.look_tags(job), _NOTE: shown.note(job, self._about.get(job.key, ""))}
        name = f"trial {job.number} · {job.arch.short}" if job.kind == "trial" else job.key
        run = known or self._run(job.key, name, {**tags, **looks, **self._source_tags()}, event.time)
        values, params = shown.birth_metrics(job), {**shown.params(self._study, job), **shown.look_params(job)}
        self._log(run, values, 0, event.time, params, tags if known else {})
        self._log_data(run)
        self._keep(job.key, run, known)
        return run

    def _run(self, key: str, name: str, tags: dict[str, str], when: float) -> str:
        """Makes the run of ``key``, or finds the one whose making was not recorded."""
        found = self._find(key) if self._uncertain or key in self._unclear else ""
        if found:
            return found
        made = self._client.create_run(self._experiment, start_time=_ms(when), run_name=name, tags=tags)
        return str(made.info.run_id)

    def _keep(self, key: str, run: str, known: str) -> None:
        """Records a run, unless it is known, once all that its first event shows is there."""
        self._runs[key] = run
        self._unclear.discard(key)
        if known:
            return
        if key == STUDY_RUN:
            self._record("view", "", study_run_id=run)
        else:
            self._record("run", key, run_id=run)

    def _record(self, kind: str, job: str, **body: str) -> None:
        self._ledger.append(kind, job, self._told[kind, job], **body)
        self._told[kind, job] += 1

    def _find(self, key: str) -> str:
        query = f"tags.`sweep.study_id` = '{self._study['id']}' AND tags.`sweep.job` = '{key}'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _report(self, run: str, event: Event) -> None:
        report = Report.of(event.place, event.body)
        values = {name: getattr(report, name) for name in shown.CURVES}
        self._log(run, values, shown.step(report), event.time)

    def _end(self, run: str, event: Event, job: JobRecord) -> None:
        note = {_NOTE: shown.note(job, self._about.get(job.key, ""))}
        self._log(run, shown.end_metrics(job), 0, event.time, tags={**shown.end_tags(job), **note})
        self._client.set_terminated(run, shown.status(job), end_time=_ms(event.time))

    def _log(
        self,
        run: str,
        values: dict[str, float],
        step: int,
        when: float,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run,
            metrics=[Metric(name, float(value), _ms(when), step) for name, value in values.items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
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
