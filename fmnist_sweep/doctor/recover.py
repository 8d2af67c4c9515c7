"""Brings back lost weights from the model that MLflow has, in a process of its own that has Keras loaded.

No code from the model's file runs: the net is rebuilt from its spec, and the file is kept only if it is, byte
for byte, the one that was lost.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.errors import ExportError
from fmnist_sweep.views.mlflow_client import connect

_ARCHIVE = "data/model.keras"
_INSIDE = "model.weights.h5"


def recover(uri: str, model_id: str, arch: ArchSpec, weights: Path, sha256: str) -> None:
    """Writes the weights of a logged model to ``weights``.

    Args:
        uri: Of MLflow.
        model_id: The logged model's.
        arch: The net.
        weights: The file to write.
        sha256: What that file must have.

    Raises:
        ExportError: The model has other weights.
    """
    import mlflow

    from fmnist_sweep import model as nets

    place = connect(uri).get_logged_model(model_id).artifact_location
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{_ARCHIVE}", dst_path=folder))
        with zipfile.ZipFile(archive) as file:
            file.extract(_INSIDE, folder)
        net = nets.build(arch).model
        net.load_weights(Path(folder) / _INSIDE)
    content = nets.weights_to_bytes([weight.numpy() for weight in net.weights])
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ExportError(f"the model in MLflow has other weights (sha256 {found[:12]}, not {sha256[:12]})")
    durable.write(weights, content)
