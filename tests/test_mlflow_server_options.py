"""How the team's server is set up: options, variables, files; and what it refuses to start with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mlflow_server import Auth, SettingsError, __main__, health
from mlflow_server.database import Database
from mlflow_server.errors import ServerError
from mlflow_server.options import SETTINGS, database_of, server_settings, value_of, values_of, with_keys
from mlflow_server.places import allowed, locations

SECRET = "canary of 1 database"
ADMIN = "canary of the admin"
STORE = {"MLFLOW_BACKEND_STORE_URI": "sqlite:////x/mlflow.db", "MLFLOW_ARTIFACTS_DESTINATION": "/x/artifacts"}
DOCS = Path(__file__).parent.parent / "docs" / "team-server.md"


def main(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], *words: str) -> int:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return __main__.main(list(words))


def test_each_setting_comes_from_option_variable_or_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{ADMIN}\n")
    base = {
        **STORE,
        "MLFLOW_PORT": "1",
        "MLFLOW_HOST": "::1",
        "MLFLOW_AUTH_ADMIN_PASSWORD_FILE": str(file),
        "MLFLOW_AUTH_DEFAULT_PERMISSION": "EDIT",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow, mlflow.example.org",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://a.org:8443",
    }
    found = server_settings(values_of({"MLFLOW_PORT": "8080"}, base), with_users=True)
    assert (found.port, found.host, found.workers) == (8080, "::1", 1)
    assert found.allowed_hosts == ("mlflow", "mlflow.example.org")
    assert found.cors_origins == ("https://a.org:8443",)
    assert found.auth is not None
    assert (found.auth.password, found.auth.username) == (ADMIN, "admin")
    assert found.auth.default_permission == "EDIT"
    assert found.auth.secret_key != Auth(ADMIN).secret_key  # drawn anew, as none is given
    assert server_settings(values_of({}, base), with_users=False).auth is None


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({"MLFLOW_BACKEND_STORE_URI": ""}, (), "no database is named"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": ""}, (), "no place for artifacts"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": ""}, (), "password is not given"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "Canary-1"}, (), "password has 8 characters; valid: 12 or more"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "password1234"}, (), "easily guessed"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "aaaaaaaaaaaaaa"}, (), "easily guessed"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD_FILE": "/nowhere"}, (), "both given"),
        ({"MLFLOW_FLASK_SERVER_SECRET_KEY_FILE": "/nowhere"}, (), "can't be read"),
        ({"MLFLOW_AUTH_DEFAULT_PERMISSION": "ALL"}, (), "valid: NO_PERMISSIONS, READ, USE, EDIT, MANAGE"),
        ({"MLFLOW_AUTH_ADMIN_USERNAME": "a:b"}, (), "the administrator's name has 'a:b'"),
        ({}, ("--port", "http"), "MLFLOW_PORT is 'http'"),
        ({}, ("--workers", "0"), "workers is 0; valid: 1 to 64"),
        ({}, ("--cors-origins", "*"), "everybody"),
        ({}, ("--host", "0.0.0.0", "--no-users"), "without a password"),
        ({}, ("--backend-store-uri", "mysql://me@host/db"), "the database is mysql://"),
        ({}, ("--backend-store-uri", f"postgresql://me:{SECRET}@host/db"), "every list of processes shows"),
        ({}, ("--artifacts-destination", "/dev/null/x"), "artifacts can't be written to /dev/null/x"),
        ({"MLFLOW_BACKEND_STORE_URI": "sqlite:///:memory:"}, (), "valid: sqlite:////home/me/mlflow.db"),
    ],
)
def test_a_server_that_would_be_wrong_or_unsafe_is_refused(
    variables: Mapping[str, str],
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    given = {**STORE, "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path), "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN, **variables}
    assert main(monkeypatch, given, *words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "anary" not in told


@pytest.mark.parametrize("name", ["--backend-store-password", "--admin-password", "--secret-key"])
def test_no_secret_is_an_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main([name, SECRET])
    assert ended.value.code == 2
    capsys.readouterr()


def test_a_databases_password_travels_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    base = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://me@[::1]:5433/runs?sslmode=require",
        "MLFLOW_BACKEND_STORE_PASSWORD_FILE": str(file),
    }
    apart = database_of(values_of({}, base))
    assert apart.environment == {"PGPASSWORD": SECRET}
    assert apart.libpq_uri == "postgresql://me@[::1]:5433/runs?sslmode=require"
    socket = "///runs?host=/run/postgresql"
    assert Database.of(f"postgresql+psycopg:{socket}").libpq_uri == f"postgresql:{socket}"
    assert "canary" not in repr(apart)
    within = apart.whole_uri
    assert "canary%20of%201%20database@" in within
    assert Database.of(within) == apart
    assert database_of(values_of({}, {"MLFLOW_BACKEND_STORE_URI": within})) == apart


def test_a_buckets_keys_come_from_files_too(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    assert with_keys({"AWS_SECRET_ACCESS_KEY_FILE": str(file)})["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert with_keys({"AWS_ACCESS_KEY_ID": "me"}) == {"AWS_ACCESS_KEY_ID": "me"}
    assert value_of("AWS_ACCESS_KEY_ID", {}) == ""


def test_help_and_docs_name_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    told, docs = capsys.readouterr().out, DOCS.read_text()
    for setting in SETTINGS:
        assert setting.variable in told
        assert f"`{setting.variable}`" in docs
        assert not setting.option or f"`{setting.option}`" in docs


def test_a_bucket_is_backed_up_by_its_own_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = {**STORE, "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/artifacts"}
    assert main(monkeypatch, given, "backup", "--to", str(tmp_path / "b")) == 2
    assert "--database-only" in capsys.readouterr().err


def test_health_says_what_does_not_answer() -> None:
    with pytest.raises(ServerError, match=r"no answer on port 1 of 127\.0\.0\.1"):
        health.check(Database.of(STORE["MLFLOW_BACKEND_STORE_URI"]), "0.0.0.0", 1)


def test_a_wrong_setting_is_no_reason_to_wait_for_the_database() -> None:
    with pytest.raises(ServerError, match="PostgreSQL"):
        Database.of("postgresql://me@127.0.0.1:1/db?sslmode=nonsense").wait(600)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"name": "mine"}, []),
        ({"artifact_location": "file:///etc"}, ["file:///etc"]),
        ({"artifactLocation": "/etc"}, ["/etc"]),
        ({"tags": [{"key": "mlflow.artifactLocation", "value": "file:///etc"}]}, ["file:///etc"]),
        ({"trace": {"info": {"tags": {"mlflow.artifactLocation": "file:///etc"}}}}, ["file:///etc"]),
        ([{"artifact_location": None}], [""]),
        (None, []),
    ],
)
def test_the_gate_finds_every_place_that_a_request_names(body: object, found: list[str]) -> None:
    assert list(locations(body)) == found


@pytest.mark.parametrize(
    ("place", "fine"),
    [
        ("", True),
        ("mlflow-artifacts:/7", True),
        ("mlflow-artifacts:/../x", False),
        ("mlflow-artifacts:/%2e%2e/x", False),
        ("mlflow-artifacts://other.example/7", False),
        ("s3://bucket", False),
        ("/etc", False),
        ("MLFLOW-ARTIFACTS:/7", False),
    ],
)
def test_the_gate_lets_the_proxys_places_in_alone(place: str, fine: bool) -> None:
    assert allowed(place) is fine


def test_settings_errors_are_the_callers() -> None:
    assert issubclass(SettingsError, ServerError)
