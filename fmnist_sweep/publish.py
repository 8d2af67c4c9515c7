"""Logs kept models to MLflow, in a process of its own that has Keras loaded; the driver reads none of it.

A model is rebuilt from its spec and its weights, whose checksum is compared first; it is logged with
explicit requirements, as MLflow would otherwise start a process a model to find them out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.errors import ExportError, first_line
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views.mlflow_client import connect, patiently
from fmnist_sweep.views.registry import ALIAS, MODEL_NAME, DataMark, champion_of


@dataclass(frozen=True, slots=True)
class Publication:
    """One model to log.

    Attributes:
        key: The job's.
        run_id: The run that it belongs to.
        arch: The net.
        weights: File with the weights.
        sha256: Of that file.
        class_names: By label.
    """

    key: str
    run_id: str
    arch: ArchSpec
    weights: Path
    sha256: str
    class_names: tuple[str, ...]


def publication(job: JobRecord, folder: StudyFolder, class_names: Iterable[str]) -> Publication:
    """What there is to log of a kept model.

    Raises:
        ExportError: The job has no weights.
    """
    if job.result is None:
        raise ExportError(f"{job.key} has no model: it is {job.state}")
    weights, sha256 = folder.weights(job.key), job.result.weights_sha256
    return Publication(job.key, job.run_id, job.arch, weights, sha256, tuple(class_names))


@dataclass(frozen=True, slots=True)
class Title:
    """What a model is to be champion for.

    Attributes:
        study_id: Of the study that it comes from.
        judged: By whom: the search, under one seed, or the finals, under several and on the test set.
        val_accuracy: Of the net, 0 to 1: of its one run in the search, or the mean of its runs in the finals.
        why: For people.
        data: The images that it is judged on.
    """

    study_id: str
    judged: Literal["search", "finals"]
    val_accuracy: float
    why: str
    data: DataMark


@dataclass(frozen=True, slots=True)
class Crowned:
    """Where the alias stands.

    Attributes:
        version: Of the registered model, if the alias is with the model in question; "" if it stays with another.
        line: For people.
    """

    version: str
    line: str


def heir(state: StudyState) -> tuple[str, Title] | None:
    """Whose model is to be the study's champion: its job, and what for; None where no trial is complete.

    The winner's of the last comparison, or, before the first, that of the search's best trial.
    """
    identity, data = state.study["id"], DataMark.of(state.study)
    if state.compared is not None:
        won = state.compared["champion"]
        return won["job"], Title(identity, "finals", won["val_accuracy"], won["why"], data)
    best = next(iter(state.ranked()), None)
    if best is None or best.best is None:
        return None
    why = f"validation accuracy {best.best:.4f}, one seed"
    return best.same_as or best.key, Title(identity, "search", best.best, why, data)


def prepare(uri: str) -> None:
    """Loads what ``publish`` needs, which takes longer than to log a model.

    Args:
        uri: Of MLflow.
    """
    connect(uri)
    import mlflow

    mlflow.keras.get_default_pip_requirements()  # looks through all installed packages, which MLflow then remembers


def publish(uri: str, wanted: list[Publication], example: Path) -> dict[str, str]:
    """Logs the models that their runs don't have yet.

    Args:
        uri: Of MLflow.
        wanted: The models.
        example: An .npy file of images; the first is the input example.

    Returns:
        By key, the address of the logged model.

    Raises:
        ExportError: Weights that are missing or were altered.
    """
    client = connect(uri)

    def logged(item: Publication) -> str:
        return patiently(uri, lambda: _logged(client, item) or _log(client, item, example))

    return {item.key: logged(item) for item in wanted}


def crown(uri: str, item: Publication, model_uri: str, title: Title) -> Crowned:
    """Registers ``item`` and moves its data set's alias to it, unless another study's champion ``outranks`` it."""
    try:
        return patiently(uri, lambda: _crown(connect(uri), item, model_uri, title))
    except Exception as error:
        if getattr(error, "error_code", "") != "PERMISSION_DENIED":
            raise
        why = "this user may not move it; whoever made it, or the server's administrator, can allow that"
        return Crowned("", f"the champion of {MODEL_NAME} stays as it is: {why}")


def _crown(client: Any, item: Publication, model_uri: str, title: Title) -> Crowned:
    alias, holder = champion_of(client, title.data)
    if holder is None:
        _ensure_registered(client)
    if holder is not None and not found(client, holder.source.removeprefix("models:/")):
        holder = None
    if holder is not None and outranks(holder.tags, title):
        judge = "that finals have judged" if holder.tags.get("sweep.judged") == "finals" else "that is better"
        theirs = float(holder.tags.get("val_accuracy", 0.0))
        line = f"{MODEL_NAME}@{alias} stays with another study's model {judge} (validation accuracy {theirs:.4f})"
        return Crowned("", line)
    tags = {
        "sweep.model_sha256": item.sha256,
        "sweep.study_id": title.study_id,
        "sweep.job": item.key,
        "sweep.judged": title.judged,
        "val_accuracy": f"{title.val_accuracy:.6f}",
        **title.data.tags,
    }
    version = _version(client, item, model_uri, tags, f"{item.arch.short}; {title.why}")
    if holder is not None and holder.version == version:
        return Crowned(str(version), f"{MODEL_NAME}@{alias} is version {version} already")
    client.set_registered_model_alias(MODEL_NAME, alias, version)
    return Crowned(str(version), f"{MODEL_NAME}@{alias} is version {version}")


def outranks(holder: dict[str, str], title: Title) -> bool:
    """Whether the champion with these tags keeps the alias against a model of another study.

    A champion that finals have judged outranks one that a search found under a single seed, whatever their scores: the
    best of many noisy scores looks better than it is. Between two of a kind the higher validation accuracy counts.
    Within one study the newer judgement always holds.
    """
    if holder.get("sweep.study_id") == title.study_id:
        return False
    theirs = (holder.get("sweep.judged") == "finals", float(holder.get("val_accuracy", 0.0)))
    return theirs > (title.judged == "finals", title.val_accuracy)


def _version(client: Any, item: Publication, model_uri: str, tags: dict[str, str], description: str) -> Any:
    """The version of the registered model that is ``item``: an earlier attempt's brought up to date, or a new one."""
    query = f"name = '{MODEL_NAME}' AND tags.`sweep.model_sha256` = '{item.sha256}'"
    for old in client.search_model_versions(query):
        if old.source == model_uri:
            for name, value in tags.items():
                if old.tags.get(name) != value:
                    client.set_model_version_tag(MODEL_NAME, old.version, name, value)
            if old.description != description:
                client.update_model_version(MODEL_NAME, old.version, description)
            return old.version
    model_id = model_uri.removeprefix("models:/")
    made = client.create_model_version(
        MODEL_NAME, source=model_uri, run_id=item.run_id, tags=tags, description=description, model_id=model_id
    )
    return made.version


def found(client: Any, model_id: str) -> Any:
    """The logged model of that id; None where it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _ensure_registered(client: Any) -> None:
    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(
            MODEL_NAME,
            description="The best image classifiers found by fmnist_sweep; takes raw images, pixels from 0 to 255. "
            f"The alias `{ALIAS}` points at the best one; other data sets' best have aliases of their own.",
        )


def link_twins(uri: str, state: StudyState) -> str:
    """Shows the models of nets that several jobs stand for at all of their runs, whenever those came.

    Returns:
        Why one of them could not be shown, as its run is gone; "" where all were.
    """
    trouble = ""
    for job in (job for job in state.jobs.values() if job.same_as and job.run_id):
        model_uri = state.jobs[job.same_as].model_uri
        try:
            if model_uri:
                link(connect(uri), job.run_id, model_uri)
        except Exception as error:
            trouble = f"the model of {job.key}: {first_line(error)}"
    return trouble


def link(client: Any, run_id: str, model_uri: str) -> None:
    """Shows a model that is logged already among the outputs of another run too."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    model_id = model_uri.removeprefix("models:/")
    if model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, models=[LoggedModelOutput(model_id, step=0)])


def _logged(client: Any, item: Publication) -> str:
    """The address of the model if an earlier attempt has logged it."""
    outputs = client.get_run(item.run_id).outputs
    for output in outputs.model_outputs if outputs else []:
        model = found(client, output.model_id)
        if model and model.tags.get("sweep.model_sha256") == item.sha256 and str(model.status) == "READY":
            return str(model.model_uri)
    return ""


class _KerasFlavor:
    """mlflow.keras, which writes the input example before it has made the folder for it (MLflow 3.17)."""

    __name__ = "mlflow.keras"

    @staticmethod
    def save_model(path: str, **options: Any) -> None:
        import mlflow

        Path(path).mkdir(parents=True, exist_ok=True)
        mlflow.keras.save_model(path=path, **options)


def _log(client: Any, item: Publication, example: Path) -> str:
    import numpy as np
    from mlflow.models import Model, infer_signature

    from fmnist_sweep.model import rebuild

    if not durable.is_whole(item.weights, item.sha256):
        raise ExportError(f"{item.key}: {item.weights} is missing or was altered (its sha256 is not {item.sha256})")
    model = rebuild(item.arch, item.weights.read_bytes(), name=item.key.replace("-", "_"))
    image = np.load(example, mmap_mode="r", allow_pickle=False)[:1].astype(
        np.float32
    )  # (1, height, width, channels), 0-255
    probabilities = np.asarray(model(image))
    run = client.get_run(item.run_id)
    before = run.info
    made = client.create_logged_model(  # Model.log would put it into MLflow's default experiment
        before.experiment_id,
        name="model",
        source_run_id=item.run_id,
        tags={"sweep.model_sha256": item.sha256},
        params=run.data.params,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=_KerasFlavor(),
            run_id=item.run_id,
            model_id=made.model_id,
            model=model,
            signature=infer_signature(image, probabilities),
            input_example=image,
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "tensorflow", "keras", "numpy")],
            metadata={"classes": list(item.class_names), "input": "raw pixels, 0 to 255"},
        )
    if client.get_run(item.run_id).info.end_time != before.end_time:  # logging a model is not training
        client.set_terminated(item.run_id, before.status, end_time=before.end_time)
    return str(info.model_uri)
