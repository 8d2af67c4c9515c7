"""Settings of the tracking server, its command and its environment, and the addresses of MLflow's pages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import mlflow_server
from mlflow_server import Auth, ServerError, SettingsError
from tests.server_parts import settings

PASSWORD = "canary-1f9c"
SECRET_URI = f"postgresql+psycopg://me:{PASSWORD}@db.example.org/runs"
AUTH = Auth(password="canary-of-the-admin")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend_store_uri": "mlruns"}, "database URI"),
        ({"backend_store_uri": "sqlite://[x"}, "database URI"),
        ({"artifacts_destination": ""}, "folder"),
        ({"port": 65_536}, "0 to 65535"),
        ({"port": True}, "0 to 65535"),
        ({"workers": 0}, "1 to 64"),
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
    assert not settings(host=host, auth=AUTH).is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_password(host: str) -> None:
    assert settings(host=host).is_local


def test_models_come_from_the_proxy_alone_once_there_are_users() -> None:
    assert "file:///x/mlartifacts/" in settings().model_sources.replace("\\", "")
    assert "file" not in settings(auth=AUTH).model_sources


def test_host_patterns_cover_every_port() -> None:
    patterns = settings(host="0.0.0.0", auth=AUTH, allowed_hosts=("mlflow",)).host_patterns
    assert patterns == (
        *("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*"),
        *("mlflow", "mlflow:*"),
    )
    assert "10.0.0.7:*" in settings(host="10.0.0.7", auth=AUTH).host_patterns


def test_uri_is_one_to_connect_to() -> None:
    assert settings().uri == "http://127.0.0.1:5000"
    assert settings(host="0.0.0.0", auth=AUTH, port=80).uri == "http://127.0.0.1:80"
    assert settings(host="::1").uri == "http://[::1]:5000"


def test_command_has_the_safe_flags() -> None:
    words = mlflow_server.command(settings(cors_origins=("https://a.org",), auth=AUTH), "me")
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


def test_environment_is_scrubbed_and_safe(tmp_path: Path) -> None:
    base = {
        "PATH": "/bin",
        "MLFLOW_RUN_ID": "1",
        "MLFLOW_TRACKING_URI": "http://elsewhere",
        "MLFLOW_GUNICORN_OPTS": "--reload",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
        "_MLFLOW_SERVER_FILE_STORE": "elsewhere",
        "UVICORN_RELOAD": "1",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "of another server",
        "MLFLOW_S3_ENDPOINT_URL": "kept",
    }
    found = mlflow_server.environment(settings(), base, tmp_path)
    assert found["PATH"] == "/bin"
    assert found["MLFLOW_S3_ENDPOINT_URL"] == "kept"
    dropped = ("AUTH_ADMIN_PASSWORD", "RUN_ID", "TRACKING_URI", "GUNICORN_OPTS", "SERVER_DISABLE_SECURITY_MIDDLEWARE")
    assert not {f"MLFLOW_{name}" for name in dropped} & set(found)
    assert not {"UVICORN_RELOAD", "_MLFLOW_SERVER_FILE_STORE"} & set(found)
    assert found["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert found["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == found["DO_NOT_TRACK"] == "true"
    assert found["MLFLOW_BACKEND_STORE_URI"] == "sqlite:////x/mlflow.db"


def test_passwords_stay_out_of_command_repr_and_messages(tmp_path: Path) -> None:
    secret = settings(backend_store_uri=SECRET_URI, auth=AUTH)
    for password in (PASSWORD, AUTH.password, AUTH.secret_key):
        assert password not in " ".join(mlflow_server.command(secret))
        assert password not in repr(secret)
        assert password not in secret.masked(f"it said {password}")
    assert secret.masked(f"at {SECRET_URI}?password=x as {PASSWORD}").count("***") == 3
    found = mlflow_server.environment(secret, {}, tmp_path)
    # What MLflow may print, the address, is without the password; it goes alone.
    assert found["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://me@db.example.org/runs"
    assert found["PGPASSWORD"] == PASSWORD
    assert found["MLFLOW_AUTH_ADMIN_PASSWORD"] == AUTH.password
    written = Path(found["MLFLOW_AUTH_CONFIG_PATH"]).read_text()
    assert "canary" not in written
    with pytest.raises(SettingsError) as caught:
        settings(artifacts_destination=f"sftp://me:{PASSWORD}@[x")
    assert PASSWORD not in str(caught.value)


def test_every_variable_is_one_that_mlflow_reads(tmp_path: Path) -> None:
    known = (mlflow_folder() / "environment_variables.py").read_text()
    for name in mlflow_server.environment(settings(auth=AUTH), {}, tmp_path):
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
