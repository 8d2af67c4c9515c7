"""The local tracking server: a real one over a store written without it, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import mlflow_server
from mlflow_server import RunningServer, ServerError, ServerSettings, __main__, guard
from mlflow_server import server as server_module
from tests.server_parts import Answer, Client, group_ends, settings

PASSWORD = "canary-1f9c"

WRITE_STORE = """
import sys
from pathlib import Path
from mlflow import MlflowClient

home = Path(sys.argv[1])
client = MlflowClient(f"sqlite:///{home}/mlflow.db")
experiment = client.create_experiment("sweep", artifact_location=(home / "mlartifacts" / "sweep").as_uri())
run = client.create_run(experiment, run_name="trial 7").info.run_id
client.log_metric(run, "val_accuracy", 0.875)
client.log_text(run, "a curve", "plots/curve.txt")
client.set_terminated(run)
print(experiment, run)
"""

START_AND_TELL = """
import sys
from mlflow_server import ServerSettings, start

server = start(ServerSettings(f"sqlite:///{sys.argv[1]}/mlflow.db", sys.argv[1], port=0))
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 is taken"):
            mlflow_server.start(settings(port=port))
        options = ["--backend-store-uri", "sqlite:////x/a.db", "--artifacts-destination", "/x"]
        assert __main__.main(["--no-users", *options, "--port", str(port)]) == 1
    assert f"port {port}" in capsys.readouterr().err


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="can't write"):
        mlflow_server.start(settings(port=0), log=tmp_path / "file" / "log")


@pytest.mark.parametrize(("ending", "code"), [("time.sleep(60)", 128 + signal.SIGTERM), ("sys.exit(7)", 7)])
def test_guard_passes_signals_and_exit_codes(ending: str, code: int) -> None:
    child = [sys.executable, "-c", f"import sys, time; print('up', flush=True); {ending}"]
    call = f"import sys; from mlflow_server import guard; sys.exit(guard.run({child!r}))"
    with subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        if code != 7:
            process.terminate()
        assert process.wait(timeout=120) == code


def test_guard_passes_on_what_comes_while_it_starts_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def struck(*args: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return start(*args, **options)

    monkeypatch.setattr("mlflow_server.guard.subprocess.Popen", struck)
    try:
        assert guard.run([sys.executable, "-c", "import time; time.sleep(60)"]) == 128 + signal.SIGTERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_guard_ends_its_group_when_its_starter_is_gone() -> None:
    nap = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(
        [sys.executable, "-P", guard.__file__, *nap], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=120) != 0
    assert group_ends(process.pid)


@dataclass(frozen=True)
class Store:
    home: Path
    experiment: str
    run: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    home = tmp_path_factory.mktemp("home")
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    told = subprocess.run(
        [sys.executable, "-c", WRITE_STORE, str(home)], env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    experiment, run = told.stdout.split()[-2:]
    return Store(home, experiment, run)


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[RunningServer]:
    chosen = ServerSettings(f"sqlite:///{store.home}/mlflow.db", str(store.home / "mlartifacts"), port=0)
    with mlflow_server.start(chosen, log=store.home / "logs" / "server.log") as running:
        yield running


def ask(server: RunningServer, path: str, body: object = None, **headers: str) -> Answer:
    return Client(server.uri).ask(path, body, **headers)


@pytest.mark.slow
def test_runs_written_without_the_server_are_shown(server: RunningServer, store: Store) -> None:
    found = ask(server, "/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": [store.experiment]})
    assert found.status == 200
    assert store.run.encode() in found.body
    assert b"0.875" in found.body
    assert b"<title>MLflow</title>" in ask(server, "/").body


@pytest.mark.slow
def test_files_written_without_the_server_are_listed_and_read(server: RunningServer, store: Store) -> None:
    listed = ask(server, "/ajax-api/2.0/mlflow/artifacts/list?" + urlencode({"run_id": store.run, "path": "plots"}))
    assert listed.json()["files"] == [{"path": "plots/curve.txt", "is_dir": False, "file_size": 7}]
    read = ask(server, "/get-artifact?" + urlencode({"run_id": store.run, "path": "plots/curve.txt"}))
    assert (read.status, read.body) == (200, b"a curve")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["../../../mlflow.db", "/etc/hostname", "plots/../../../../mlflow.db"])
def test_files_outside_the_run_are_refused(server: RunningServer, store: Store, path: str) -> None:
    assert ask(server, "/get-artifact?" + urlencode({"run_id": store.run, "path": path})).status == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 403), ("evil.example:5000", 403), ("10.0.0.1", 403), ("[::1]:9", 200)]
)
def test_only_known_host_names_are_answered(server: RunningServer, host: str, status: int) -> None:
    assert ask(server, "/", Host=host).status == status


@pytest.mark.slow
def test_other_sites_cannot_write(server: RunningServer) -> None:
    answer = ask(server, "/api/2.0/mlflow/experiments/create", {"name": "theirs"}, Origin="http://evil.example")
    assert answer.status == 403


@pytest.mark.slow
def test_model_sources_are_restricted(server: RunningServer, store: Store) -> None:
    assert ask(server, "/api/2.0/mlflow/registered-models/create", {"name": "net"}).status == 200
    create = "/api/2.0/mlflow/model-versions/create"
    for source, status in (
        ("s3://bucket/model", 400),
        ("http://evil.example/model", 400),
        ("file:///etc", 400),
        (f"runs:/{store.run}/plots", 200),
        ((store.home / "mlartifacts" / "sweep" / store.run / "artifacts" / "plots").as_uri(), 200),
    ):
        assert ask(server, create, {"name": "net", "source": source, "run_id": store.run}).status == status, source


@pytest.mark.slow
def test_telemetry_and_gateway_are_off(server: RunningServer) -> None:
    assert ask(server, "/ajax-api/3.0/mlflow/ui-telemetry").json()["disable_ui_telemetry"] is True
    assert ask(server, "/ajax-api/3.0/mlflow/server-info").json()["features_enabled"] == {"gateway": False}


@pytest.mark.slow
def test_log_is_the_users_alone(server: RunningServer, store: Store) -> None:
    log = store.home / "logs" / "server.log"
    assert server.alive
    assert log.stat().st_mode & 0o077 == 0
    assert "Uvicorn running" in log.read_text()


@pytest.mark.slow
def test_stop_ends_every_process(store: Store) -> None:
    running = mlflow_server.start(ServerSettings(f"sqlite:///{store.home}/mlflow.db", str(store.home), port=0))
    os.killpg(running.pid, 0)
    running.stop()
    running.stop()
    assert not running.alive
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


@pytest.mark.slow
def test_server_dies_with_its_starter(store: Store) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START_AND_TELL, str(store.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    assert group_ends(pid)


@pytest.mark.slow
def test_server_that_dies_at_once_leaves_its_last_words(tmp_path: Path) -> None:
    bad = settings(backend_store_uri=f"nosuchdb://me:{PASSWORD}@db.example.org/runs", port=0)
    with pytest.raises(ServerError, match=r"exit code 1; its last words: .*nosuchdb") as caught:
        mlflow_server.start(bad, log=tmp_path / "log")
    assert PASSWORD not in str(caught.value)


@pytest.mark.slow
def test_deadline_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[RunningServer] = []

    class Noted(RunningServer):
        def wait_until_ready(self, timeout_s: float) -> None:
            started.append(self)
            super().wait_until_ready(timeout_s)

    monkeypatch.setattr(server_module, "RunningServer", Noted)
    with pytest.raises(ServerError, match=r"gave no answer .* within 0.3 s"):
        mlflow_server.start(settings(backend_store_uri=f"sqlite:///{tmp_path}/a.db", port=0), timeout_s=0.3)
    assert group_ends(started[0].pid, within_s=60)
