"""Logs kept models to MLflow, in a process of its own that has Keras loaded; the driver reads none of it.

A model is rebuilt from its spec and its weights, whose checksum is compared first; it is logged with
explicit requirements, as MLflow would otherwise start a process a model to find them out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.errors import ExportError
from fmnist_sweep.views.mlflow_client import ALIAS, MODEL_NAME, connect


@dataclass(frozen=True, slots=True)
class Publication:
    """One model to log.

    Attributes:
        key: The job's.
        run_id: The run that it belongs to.
        arch: The net.
        weights: File with the weights.
        sha256: Of that file.
        val_accuracy: For people and for comparing champions, 0 to 1.
        class_names: By label.
    """

    key: str
    run_id: str
    arch: ArchSpec
    weights: Path
    sha256: str
    val_accuracy: float
    class_names: tuple[str, ...]


def publish(uri: str, wanted: list[Publication], twins: list[tuple[str, str]], example: Path) -> dict[str, str]:
    """Logs the models that their runs don't have yet.

    Args:
        uri: Of MLflow.
        wanted: The models.
        twins: Runs that share another job's model, each with that job's key.
        example: An .npy file of images; the first is the input example.

    Returns:
        By key, the address of the logged model.

    Raises:
        ExportError: Weights that are missing or were altered.
    """
    client = connect(uri)
    found = {item.key: _logged(client, item) or _log(client, item, example) for item in wanted}
    for run_id, key in twins:
        _link(client, run_id, found[key])
    return found


def crown(uri: str, item: Publication, model_uri: str, study_id: str) -> str:
    """Registers ``item`` and moves the alias to it, unless another study's champion is better.

    Returns:
        A line for people.
    """
    client = connect(uri)
    try:
        holder = client.get_model_version_by_alias(MODEL_NAME, ALIAS)
    except Exception:
        holder = None
    if holder is not None:
        tags = holder.tags
        if tags.get("sweep.model_sha256") == item.sha256:
            return f"{MODEL_NAME}@{ALIAS} is version {holder.version} already"
        theirs = float(tags.get("val_accuracy", 0.0))
        if tags.get("sweep.study_id") != study_id and theirs > item.val_accuracy:
            return f"{MODEL_NAME}@{ALIAS} stays with another study's model (validation accuracy {theirs:.4f})"
    else:
        _ensure_registered(client)
    tags = {
        "sweep.model_sha256": item.sha256,
        "sweep.study_id": study_id,
        "sweep.job": item.key,
        "val_accuracy": f"{item.val_accuracy:.6f}",
    }
    made = client.create_model_version(
        MODEL_NAME,
        source=model_uri,
        run_id=item.run_id,
        tags=tags,
        description=f"{item.arch.short}; validation accuracy {item.val_accuracy:.4f}, one seed",
        model_id=model_uri.removeprefix("models:/"),
    )
    client.set_registered_model_alias(MODEL_NAME, ALIAS, made.version)
    return f"{MODEL_NAME}@{ALIAS} is version {made.version}"


def _ensure_registered(client: Any) -> None:
    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(
            MODEL_NAME,
            description="The best image classifiers found by fmnist_sweep; takes raw images, pixels from 0 to 255. "
            f"The alias `{ALIAS}` points at the best one.",
        )


def _link(client: Any, run_id: str, model_uri: str) -> None:
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
        model = client.get_logged_model(output.model_id)
        if model.tags.get("sweep.model_sha256") == item.sha256 and str(model.status) == "READY":
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

    if not item.weights.exists() or durable.sha256(item.weights) != item.sha256:
        raise ExportError(f"{item.key}: {item.weights} is missing or was altered (its sha256 is not {item.sha256})")
    model = rebuild(item.arch, item.weights.read_bytes(), name=item.key.replace("-", "_"))
    image = np.load(example, mmap_mode="r")[:1].astype(np.float32)  # (1, height, width, channels), 0-255
    probabilities = np.asarray(model(image))
    before = client.get_run(item.run_id).info
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=_KerasFlavor(),
            run_id=item.run_id,
            model=model,
            signature=infer_signature(image, probabilities),
            input_example=image,
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "tensorflow", "keras", "numpy")],
            tags={"sweep.model_sha256": item.sha256},
            metadata={"classes": list(item.class_names), "input": "raw pixels, 0 to 255"},
        )
    if client.get_run(item.run_id).info.end_time != before.end_time:  # logging a model is not training
        client.set_terminated(item.run_id, before.status, end_time=before.end_time)
    return str(info.model_uri)
