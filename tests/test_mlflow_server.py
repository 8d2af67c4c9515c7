"""The tracking server: safe settings, safe flags, and a real server over a store written without it."""

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

import mlflow_server
from mlflow_server import RunningServer, ServerError, ServerSettings, SettingsError, __main__, guard
from mlflow_server import server as server_module

PASSWORD = "canary-1f9c"
SECRET_URI = f"postgresql+psycopg://me:{PASSWORD}@db.example.org/runs"

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


def settings(**changes: object) -> ServerSettings:
    values: dict[str, object] = {
        "backend_store_uri": "sqlite:////x/mlflow.db",
        "artifacts_destination": "/x/mlartifacts",
    }
    return ServerSettings(**{**values, **changes})  # type: ignore[arg-type]


def group_ends(pid: int, within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend_store_uri": "mlruns"}, "database URI"),
        ({"backend_store_uri": "sqlite://[x"}, "database URI"),
        ({"artifacts_destination": ""}, "folder"),
        ({"port": 65_536}, "0 to 65535"),
        ({"port": True}, "0 to 65535"),
        ({"workers": 0}, "1 to 64"),
        ({"app_name": "oauth"}, "basic-auth"),
        ({"host": "--reload"}, "address"),
        ({"allowed_hosts": ("*",)}, "everybody"),
        ({"allowed_hosts": ("a,b",)}, "host name"),
        ({"cors_origins": ("*",)}, "everybody"),
        ({"cors_origins": ("https://*",)}, "everybody"),
        ({"cors_origins": ("example.org",)}, "origin"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(**changes)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "build-server"])
def test_nothing_listens_beyond_this_machine_unless_asked(host: str) -> None:
    with pytest.raises(SettingsError, match="without a password"):
        settings(host=host)
    assert not settings(host=host, insecure_ok=True).is_local
    assert not settings(host=host, app_name="basic-auth").is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_password(host: str) -> None:
    assert settings(host=host).is_local


def test_host_patterns_cover_every_port() -> None:
    patterns = settings(host="0.0.0.0", insecure_ok=True, allowed_hosts=("mlflow",)).host_patterns
    assert patterns == (
        *("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*"),
        *("mlflow", "mlflow:*"),
    )
    assert "10.0.0.7:*" in settings(host="10.0.0.7", insecure_ok=True).host_patterns


def test_uri_is_one_to_connect_to() -> None:
    assert settings().uri == "http://127.0.0.1:5000"
    assert settings(host="0.0.0.0", insecure_ok=True, port=80).uri == "http://127.0.0.1:80"
    assert settings(host="::1").uri == "http://[::1]:5000"


def test_command_has_the_safe_flags() -> None:
    words = mlflow_server.command(settings(cors_origins=("https://a.org",), app_name="basic-auth"), "me")
    assert words[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert "--serve-artifacts" in words
    assert not {"--gunicorn-opts", "--waitress-opts", "--disable-security-middleware", "--dev"} & set(words)
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert (options["--host"], options["--port"], options["--workers"]) == ("127.0.0.1", "5000", "1")
    assert "localhost:*" in options["--allowed-hosts"].split(",")
    assert options["--cors-allowed-origins"] == "https://a.org"
    assert options["--app-name"] == "basic-auth"
    assert "--header=x-fmnist-sweep-server:me" in options["--uvicorn-opts"]


def test_command_needs_a_settled_port() -> None:
    with pytest.raises(ServerError, match="settled"):
        mlflow_server.command(settings(port=0))
    assert mlflow_server.settled(settings(port=0)).port > 0


def test_environment_is_scrubbed_and_safe() -> None:
    base = {
        "PATH": "/bin",
        "MLFLOW_RUN_ID": "1",
        "MLFLOW_TRACKING_URI": "http://elsewhere",
        "MLFLOW_GUNICORN_OPTS": "--reload",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
        "_MLFLOW_SERVER_FILE_STORE": "elsewhere",
        "UVICORN_RELOAD": "1",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "kept",
        "MLFLOW_S3_ENDPOINT_URL": "kept",
    }
    found = mlflow_server.environment(settings(), base)
    assert found["PATH"] == "/bin"
    assert found["MLFLOW_AUTH_ADMIN_PASSWORD"] == found["MLFLOW_S3_ENDPOINT_URL"] == "kept"
    dropped = ("RUN_ID", "TRACKING_URI", "GUNICORN_OPTS", "SERVER_DISABLE_SECURITY_MIDDLEWARE")
    assert not {f"MLFLOW_{name}" for name in dropped} & set(found)
    assert not {"UVICORN_RELOAD", "_MLFLOW_SERVER_FILE_STORE"} & set(found)
    assert found["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert found["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == found["DO_NOT_TRACK"] == "true"
    assert found["MLFLOW_BACKEND_STORE_URI"] == "sqlite:////x/mlflow.db"


def test_passwords_stay_out_of_command_repr_and_messages() -> None:
    secret = settings(backend_store_uri=SECRET_URI)
    assert PASSWORD not in " ".join(mlflow_server.command(secret))
    assert PASSWORD not in repr(secret)
    assert secret.masked(f"at {SECRET_URI}?password=x as {PASSWORD}").count("***") == 3
    assert PASSWORD in mlflow_server.environment(secret, {})["MLFLOW_BACKEND_STORE_URI"]
    with pytest.raises(SettingsError) as caught:
        settings(artifacts_destination=f"sftp://me:{PASSWORD}@[x")
    assert PASSWORD not in str(caught.value)


def test_every_variable_is_one_that_mlflow_reads() -> None:
    known = (mlflow_folder() / "environment_variables.py").read_text()
    for name in mlflow_server.environment(settings(), {}):
        if name.startswith("MLFLOW_") and name not in {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"}:
            assert f'"{name}"' in known


def test_addresses() -> None:
    assert mlflow_server.charts_url("http://h:1/", "7") == (
        "http://h:1/#/experiments/7/runs?compareRunsMode=CHART&orderByKey=metrics.%60best_val_accuracy%60"
        "&orderByAsc=false&workflowType=machine_learning"
    )
    assert "compareRunsMode=TABLE" in mlflow_server.table_url("http://h:1", "7")
    page, _, query = urlsplit(mlflow_server.compare_url("http://h:1", "7", ["a", "b"])).fragment.partition("?")
    assert page == "/compare-runs"
    assert query.startswith("runs=")
    assert {key: values[0] for key, values in parse_qs(query).items()} == {
        "runs": '["a","b"]',
        "experiments": '["7"]',
        "workflowType": "machine_learning",
    }
    with pytest.raises(ValueError, match="at least one run"):
        mlflow_server.compare_url("http://h:1", "7", [])


def test_mlflows_pages_know_the_addresses() -> None:
    scripts = sorted((mlflow_folder() / "server" / "js" / "build" / "static" / "js").glob("*.js"))
    wanted = {
        b'"/compare-runs"',
        b'"?runs"',
        b'"/experiments/:experimentId/runs"',
        b'"compareRunsMode"',
        b'"workflowType"',
    }
    for script in scripts:
        text = script.read_bytes()
        wanted -= {word for word in wanted if word in text}
    assert not wanted


def mlflow_folder() -> Path:
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_importing_loads_neither_mlflow_nor_tensorflow() -> None:
    code = "import sys, mlflow_server.__main__; sys.exit(bool({'mlflow', 'tensorflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 is taken"):
            mlflow_server.start(settings(port=port))
        options = ["--backend-store-uri", "sqlite:////x/a.db", "--artifacts-destination", "/x", "--port", str(port)]
        assert __main__.main(options) == 2
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
        assert process.wait(timeout=20) == code


def test_guard_ends_its_group_when_its_starter_is_gone() -> None:
    nap = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(
        [sys.executable, "-P", guard.__file__, *nap], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) != 0
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


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        values: dict[str, object] = json.loads(self.body)
        return values


def ask(server: RunningServer, path: str, body: object = None, **headers: str) -> Answer:
    where = urlsplit(server.uri)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", path, data, {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


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
    assert group_ends(started[0].pid, within_s=1)


@pytest.mark.slow
def test_foreground_ends_on_sigterm(store: Store) -> None:
    port = mlflow_server.settled(settings(port=0)).port
    variables = {**os.environ, "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store.home}/mlflow.db"}
    words = [sys.executable, "-m", "mlflow_server", "--artifacts-destination", str(store.home), "--port", str(port)]
    with subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert any("Uvicorn running" in line for line in process.stderr)
        process.terminate()
        process.stderr.read()
        assert process.wait(timeout=20) == 0
    assert group_ends(process.pid)
