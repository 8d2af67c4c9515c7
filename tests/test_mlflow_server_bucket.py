"""The server with its artifacts in a bucket: a stand-in for S3 that speaks its protocol, everything else as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from fmnist_sweep.views.mlflow_client import connect
from mlflow_server import settled
from tests.server_parts import Client, settings
from tests.stand_ins import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUCKET, FOLDER = "lab", "mlflow/artifacts"
KEYS = {"AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-secret"}


@dataclass(frozen=True)
class Bucket:
    """What lies in the bucket.

    Attributes:
        client: To the store itself, past MLflow.
        endpoint: Where it answers.
    """

    client: Any
    endpoint: str

    def files(self) -> dict[str, int]:
        """Sizes of the objects, by key."""
        listed = self.client.list_objects_v2(Bucket=BUCKET)
        return {each["Key"]: each["Size"] for each in listed.get("Contents", ())}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    named = {name.lower(): value for name, value in KEYS.items()}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **named)
    client.create_bucket(Bucket=BUCKET)
    yield Bucket(client, endpoint)
    store.stop()


@pytest.fixture(scope="module")
def variables(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the server's commands; the keys come from files, as secrets do."""
    folder = tmp_path_factory.mktemp("bucket")
    for name, secret in KEYS.items():
        (folder / name).write_text(secret + "\n")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))},
        **{f"{name}_FILE": str(folder / name) for name in KEYS},
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": bucket.endpoint,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/{FOLDER}",
        "MLFLOW_PORT": str(settled(settings(port=0)).port),
    }


@pytest.fixture(scope="module")
def uri(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = f"http://127.0.0.1:{variables['MLFLOW_PORT']}"
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow_server", "serve", "--no-users"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: process.poll() is not None or healthy(found), "the server")
        assert process.poll() is None, log.read_text()
        yield found
        assert "canary" not in log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def healthy(uri: str) -> bool:
    with suppress(OSError):
        return Client(uri).ask("/health").status == 200
    return False


def test_what_clients_upload_is_in_the_bucket_and_comes_back(bucket: Bucket, uri: str, tmp_path: Path) -> None:
    """The client is told of the proxy alone: neither the bucket nor its keys."""
    client = connect(uri)
    run = client.create_run(client.create_experiment("bucket")).info
    model = os.urandom(6_000_000)
    (tmp_path / "model.keras").write_bytes(model)
    client.log_artifact(run.run_id, str(tmp_path / "model.keras"), "data")
    client.log_text(run.run_id, "found", "summary.md")
    assert run.artifact_uri.startswith("mlflow-artifacts:/")
    where = f"{FOLDER}/{run.artifact_uri.removeprefix('mlflow-artifacts:/')}"
    assert bucket.files() == {f"{where}/data/model.keras": len(model), f"{where}/summary.md": 5}
    assert sorted(it.path for it in client.list_artifacts(run.run_id)) == ["data", "summary.md"]
    back = Path(client.download_artifacts(run.run_id, "data/model.keras", str(tmp_path)))
    assert back.read_bytes() == model


def test_a_bucket_is_not_copied_into_a_backup_unsaid(variables: dict[str, str], uri: str, tmp_path: Path) -> None:
    assert uri

    def backup(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mlflow_server", "backup", "--to", str(tmp_path / "backup"), *words]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    refused = backup()
    assert refused.returncode == 2
    assert "the artifacts are in a bucket" in refused.stderr
    assert "--database-only" in refused.stderr
    done = backup("--database-only")
    assert done.returncode == 0, done.stderr
    assert "no artifacts" in done.stderr
