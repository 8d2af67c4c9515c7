"""Reads one study back from MLflow, through its client alone, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fmnist_sweep.addresses import masked
from fmnist_sweep.errors import TrackingError, first_line
from fmnist_sweep.sqlite_birth import file_of
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.mlflow_client import check_uri, connect, is_of
from fmnist_sweep.views.registry import DataMark, champion_of
from fmnist_sweep.views.seen import Champion, Place, SeenMlflow, SeenModel, SeenRun
from fmnist_sweep.views.shown import CURVES, Curve

_PAGE = 1000
_MODELS_PAGE = 100
_ARCHIVE = "data/model.keras"


def read(uri: str, state: StudyState, name: str = "") -> SeenMlflow:
    """What MLflow has of a study.

    Args:
        uri: Of MLflow.
        state: The ledger's.
        name: The study's now; by default the one that it began with.

    Raises:
        TrackingError: Nothing answers at ``uri``, or it can't be read.
    """
    path = file_of(uri)
    if path is not None and not path.exists():  # opening it would make it
        return SeenMlflow("missing")
    check_uri(uri)
    try:
        return _Reader(connect(uri), state, name or state.study["name"]).read()
    except Exception as error:
        raise TrackingError(f"--tracking-uri {masked(uri)} can't be read: {first_line(error)}") from None


def known_runs(state: StudyState) -> set[str]:
    """Ids of the runs that the ledger has."""
    return ({job.run_id for job in state.jobs.values()} | {state.views.get("study_run_id", "")}) - {""}


class _Reader:
    def __init__(self, client: Any, state: StudyState, name: str) -> None:
        self._client = client
        self._name = name
        self._state = state
        self._experiment = state.views.get("experiment_id", "")

    def read(self) -> SeenMlflow:
        place = self._place()
        if place != "here":
            return SeenMlflow(place, champion=self._champion())
        runs = self._runs()
        known = known_runs(self._state)
        study_run = self._state.views.get("study_run_id", "")
        files = self._client.list_artifacts(study_run) if study_run in runs else []
        return SeenMlflow(
            experiment=place,
            runs=runs,
            deleted=frozenset(run for run in known - set(runs) if self._exists(self._client.get_run, run)),
            models=self._models(runs),
            files=frozenset(file.path for file in files),
            champion=self._champion(),
        )

    def _place(self) -> Place:
        found = self._exists(self._client.get_experiment, self._experiment) if self._experiment else None
        if found is None:
            return "missing"
        if not is_of(found, self._state.study["id"], self._name):
            return "another's"
        return "here" if found.lifecycle_stage == "active" else "deleted"

    def _runs(self) -> dict[str, SeenRun]:
        known = known_runs(self._state)
        found, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return {run.info.run_id: self._run(run, run.info.run_id in known) for run in found}

    def _run(self, run: Any, known: bool) -> SeenRun:
        outputs = run.outputs.model_outputs if run.outputs else []
        run_id = run.info.run_id
        return SeenRun(
            run_id=run_id,
            status=run.info.status,
            params=run.data.params,
            tags=run.data.tags,
            metrics=run.data.metrics,
            curves={name: self._curve(run_id, name) for name in CURVES if known and name in run.data.metrics},
            models=tuple(output.model_id for output in outputs),
        )

    def _curve(self, run_id: str, name: str) -> Curve:
        points = self._client.get_metric_history(run_id, name)
        return tuple((point.step, point.value) for point in sorted(points, key=lambda it: (it.timestamp, it.step)))

    def _models(self, runs: dict[str, SeenRun]) -> dict[str, SeenModel]:
        """The experiment's models, and those that runs or the ledger name."""
        found: dict[str, Any] = {}
        token = None
        while True:
            page = self._client.search_logged_models([self._experiment], max_results=_MODELS_PAGE, page_token=token)
            found |= {model.model_id: model for model in page}
            token = page.token
            if not token:
                break
        named = {model for run in runs.values() for model in run.models}
        named |= {job.model_uri.removeprefix("models:/") for job in self._state.jobs.values() if job.model_uri}
        for model_id in named - set(found):
            model = self._exists(self._client.get_logged_model, model_id)
            found |= {model_id: model} if model is not None else {}
        return {model_id: self._model(model) for model_id, model in found.items()}

    def _model(self, model: Any) -> SeenModel:
        return SeenModel(
            model_id=model.model_id,
            run_id=model.source_run_id or "",
            status=str(model.status),
            sha256=model.tags.get("sweep.model_sha256", ""),
            whole=self._whole(model.model_id),
        )

    def _whole(self, model_id: str) -> bool:
        list_ = self._client.list_logged_model_artifacts
        names: Iterable[Any] = [*list_(model_id), *list_(model_id, "data")]
        sizes = {file.path: file.file_size for file in names if not file.is_dir}
        return bool(sizes.get("MLmodel")) and bool(sizes.get(_ARCHIVE))

    def _champion(self) -> Champion | None:
        _, holder = champion_of(self._client, DataMark.of(self._state.study))
        if holder is None:
            return None
        ours, model_id = holder.source.startswith("models:/"), holder.source.removeprefix("models:/")
        alive = not ours or (bool(self._exists(self._client.get_logged_model, model_id)) and self._whole(model_id))
        return Champion(str(holder.version), holder.source, holder.tags, alive)

    @staticmethod
    def _exists(get: Any, name: str) -> Any:
        """What ``get`` finds; None where it says that there is no such thing."""
        try:
            return get(name)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
