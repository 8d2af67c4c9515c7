"""The server as a team runs it, for real: PostgreSQL, users, everything from the environment, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import optuna
import psutil
import pytest

from mlflow_server import settled
from mlflow_server.__main__ import main
from tests.conftest import Cli
from tests.postgres import Postgres
from tests.server_parts import Client, files, group_ends, settings
from tests.stand_ins import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ADMIN = "canary of the admin"
KEY = "canary-of-the-key"
ORIGIN = "https://team.example:8443"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Team:
    """A running server.

    Attributes:
        variables: That it was started with, and that its other commands take too.
        process: The one that was started.
        log: All that it printed.
        artifacts: Its folder.
        database: The name of its database.
        uri: Where it answers.
    """

    variables: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path
    artifacts: Path
    database: str
    uri: str

    @property
    def admin(self) -> Client:
        return Client(self.uri, f"admin:{ADMIN}")

    @property
    def family(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def command(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the server's other commands."""
        return subprocess.run(
            [sys.executable, "-m", "mlflow_server", *words],
            env={**self.variables, **changes},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def team(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    database = postgres.create("mlflow").rpartition("/")[2]
    secrets = {"MLFLOW_BACKEND_STORE_PASSWORD": postgres.password, "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN}
    for name, secret in secrets.items():
        (folder / name).write_text(secret + "\n")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PG"))},
        **{f"{name}_FILE": str(folder / name) for name in secrets},
        "MLFLOW_BACKEND_STORE_URI": postgres.url(database, password=False),
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": KEY,
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ORIGIN,
    }
    migrate_twice_at_once(variables)
    port = settled(settings(port=0)).port  # not before: others may take it meanwhile
    variables["MLFLOW_PORT"] = str(port)
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow_server"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    found = Team(variables, process, log, folder / "artifacts", database, f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: answers(found), "the team's server")
        yield found
        process.terminate()
        assert process.wait(timeout=240) == 0
        assert group_ends(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def migrate_twice_at_once(variables: Mapping[str, str]) -> None:
    """Two containers that start at the same time on an empty database."""
    words = [sys.executable, "-m", "mlflow_server", "migrate"]
    both = [subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        told = process.communicate()[1]
        assert process.returncode == 0, told
        assert "canary" not in told


def answers(team: Team) -> bool:
    assert team.process.poll() is None, team.log.read_text()
    try:
        return Client(team.uri).ask("/health").status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def experiment(team: Team) -> str:
    return str(team.admin.post("experiments/create", name="of the admin").json()["experiment_id"])


@pytest.fixture(scope="module")
def run(team: Team, experiment: str) -> str:
    """A run with an artifact."""
    made = team.admin.post("runs/create", experiment_id=experiment, start_time=1).json()["run"]["info"]
    assert made["artifact_uri"] == f"mlflow-artifacts:/{experiment}/{made['run_id']}/artifacts"
    place = f"{ARTIFACTS}/{experiment}/{made['run_id']}/artifacts/model/weights.npz"
    assert team.admin.ask(place, b"weights", "PUT").status == 200
    return str(made["run_id"])


# Who gets in


@pytest.mark.parametrize("user", ["", "admin:wrong", "nobody:password1234", f"admin:{ADMIN} "])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
        f"{ARTIFACTS}/1/x/artifacts/y",
        "/get-artifact?run_id=x&path=y",
        "/graphql",
        "/signup",
        "/version",
        "/api/2.0/mlflow/users/get?username=admin",
    ],
)
def test_nobody_gets_in_without_a_password(team: Team, path: str, user: str) -> None:
    assert Client(team.uri, user).ask(path).status == 401


def test_the_administrator_gets_in(team: Team, run: str) -> None:
    assert team.admin.ask("/api/2.0/mlflow/experiments/search?max_results=1").status == 200
    assert team.admin.ask(f"/get-artifact?run_id={run}&path=model/weights.npz").body == b"weights"
    assert b"<title>MLflow</title>" in team.admin.ask("/").body


def test_users_read_what_others_made_and_change_their_own_alone(team: Team, experiment: str) -> None:
    login = {"username": "student", "password": "canary of a student"}
    assert team.admin.post("users/create", **login).status == 200
    student = Client(team.uri, "student:canary of a student")
    assert student.ask(f"/api/2.0/mlflow/experiments/get?experiment_id={experiment}").status == 200
    assert student.post("experiments/delete", experiment_id=experiment).status == 403
    assert student.post("users/create", username="other", password="canary of another").status == 403
    mine = student.post("experiments/create", name="of the student").json()["experiment_id"]
    assert student.post("experiments/delete", experiment_id=mine).status == 200


# From where


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:5000", 403),
        ("10.0.0.1", 403),
        ("mlflow.example.evil.example", 403),
        ("mlflow.example", 200),
        ("mlflow.example:8080", 200),
        ("127.0.0.1:9", 200),
    ],
)
def test_only_known_host_names_are_answered(team: Team, host: str, status: int) -> None:
    assert team.admin.ask("/", Host=host).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("https://team.example", 403),
        ("http://team.example:8443", 403),
        ("https://team.example:9", 403),
        (ORIGIN, 200),
    ],
)
def test_only_known_pages_may_write(team: Team, origin: str, status: int) -> None:
    body = {"name": f"from {origin}"}
    assert team.admin.ask("/api/2.0/mlflow/experiments/create", body, Origin=origin).status == status


def test_nothing_listens_beyond_this_machine(team: Team) -> None:
    listening = [
        connection.laddr.ip
        for process in team.family
        for connection in process.net_connections("all")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


# What it does not do


@pytest.mark.parametrize(
    "path",
    [
        *("../log", "..%2flog", "%2e%2e/log", "%2e%2e%2flog", "%252e%252e%252flog", "x/../../log"),
        *("/etc/hostname", "%2fetc%2fhostname", "file:///etc/hostname", "x/%2e%2e/%2e%2e/log"),
    ],
)
def test_no_path_leads_out_of_the_artifacts(team: Team, run: str, path: str) -> None:
    for method, body in (("GET", None), ("PUT", b"mine")):
        assert team.admin.ask(f"{ARTIFACTS}/{path}", body, method).status in (400, 404)
    assert team.admin.ask(f"/get-artifact?run_id={run}&path={quote(path)}").status in (400, 404)
    assert team.admin.ask(f"/api/2.0/mlflow-artifacts/artifacts?path={path}").status in (400, 404)
    assert b"mine" not in [*files(team.artifacts.parent).values(), Path("/etc/hostname").read_bytes()]


@pytest.mark.parametrize("place", ["file:///etc", "/etc", "s3://bucket", "mlflow-artifacts:/../x", "hdfs://host/x"])
@pytest.mark.parametrize("field", ["artifact_location", "artifactLocation"])
def test_no_experiment_lies_outside_the_artifacts(team: Team, field: str, place: str) -> None:
    answer = team.admin.post("experiments/create", name="theirs", **{field: place})
    assert answer.status == 400
    assert "artifact_location is" in answer.json()["message"]


def test_no_experiment_lies_outside_however_the_request_is_written(team: Team) -> None:
    twice = b'"{\\"name\\": \\"theirs\\", \\"artifact_location\\": \\"file:///etc\\"}"'
    for prefix in ("api", "ajax-api"):
        assert team.admin.ask(f"/{prefix}/2.0/mlflow/experiments/create", twice, "POST").status == 400


def test_models_come_from_the_artifacts_alone(team: Team, run: str, experiment: str) -> None:
    assert team.admin.post("registered-models/create", name="net").status == 200
    inside = f"mlflow-artifacts:/{experiment}/{run}/artifacts/model"
    for source, status in (
        ("s3://bucket/model", 400),
        ("http://evil.example/model", 400),
        ("file:///etc", 400),
        (team.artifacts.as_uri(), 400),
        ("mlflow-artifacts:/../../etc", 400),
        (inside, 200),
        (f"runs:/{run}/model", 200),
    ):
        answer = team.admin.post("model-versions/create", name="net", source=source, run_id=run)
        assert answer.status == status, source


def test_it_runs_no_jobs_and_unpickles_nothing(team: Team) -> None:
    servers = team.family[1:]
    assert servers
    for process in servers:
        assert process.environ()["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert process.environ()["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    words = [" ".join(process.cmdline()) for process in team.family]
    assert any("uvicorn" in line for line in words)
    assert not any("huey" in line or "gunicorn" in line or "job" in line for line in words)
    job = {"job_name": "optimize_prompts", "params": {}}
    assert team.admin.ask("/ajax-api/3.0/jobs/", job).status >= 400


# Health, and an outage


def test_health_from_the_same_variables(team: Team) -> None:
    wait_for(lambda: team.command("health").returncode == 0, "health")
    assert team.command("health").stderr == ""
    done = team.command("health", MLFLOW_PORT="1")
    assert done.returncode == 1
    assert "no answer on port 1" in done.stderr


def test_health_sees_a_database_that_is_away_and_the_server_outlives_it(team: Team, postgres: Postgres) -> None:
    postgres.stop()
    try:
        done = team.command("health")
    finally:
        postgres.start()
    assert done.returncode == 1
    assert "PostgreSQL: " in done.stderr
    assert postgres.password not in done.stderr
    wait_for(lambda: team.command("health").returncode == 0, "health")
    wait_for(lambda: team.admin.ask("/api/2.0/mlflow/experiments/search?max_results=1").status == 200, "the server")


# Backups


def test_a_backup_restores_every_row_and_file(
    team: Team, run: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run
    done = team.command("backup", "--to", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert "postgresql, " in done.stderr
    assert contents(postgres, team.database)["users"]
    new = postgres.create("restored")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", new)
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(tmp_path / "artifacts"))
    assert main(["restore", "--from", str(tmp_path / "backup")]) == 0
    assert contents(postgres, new.rpartition("/")[2]) == contents(postgres, team.database)
    assert files(tmp_path / "artifacts") == files(team.artifacts)
    assert any(path.endswith("weights.npz") for path in files(team.artifacts))
    assert main(["restore", "--from", str(tmp_path / "backup")]) == 1


def contents(postgres: Postgres, database: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    tables = postgres.execute(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: sorted(str(row) for (row,) in postgres.execute(database, f'SELECT t::text FROM "{name}" t'))
        for (name,) in tables
    }


# A sweep that logs to it


def test_a_sweep_goes_on_from_a_copy_of_its_home_and_keeps_the_passwords_to_itself(
    team: Team, postgres: Postgres, real_cli: Cli
) -> None:
    storage = postgres.create("optuna")
    words = ("run", "--sweep", "smoke", "--train-images", "2000", "--epochs", "1", "--no-lab", "--storage", storage)
    within = team.uri.replace("//", f"//admin:{quote(ADMIN)}@")
    wrong = real_cli.run(*words, "--trials", "1", "--tracking-uri", within.replace("canary", "wrong"))
    assert wrong.returncode == 1
    assert "wrong user or password (401)" in wrong.stderr
    first = real_cli.run(*words, "--trials", "1", "--tracking-uri", within, "--home", "home", "--json")
    assert first.returncode == 0, first.stderr
    shutil.copytree(real_cli.folder / "home", real_cli.folder / "there")
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN, "MLFLOW_TRACKING_URI": team.uri}
    second = real_cli.run(*words, "--trials", "2", "--home", "there", "--json", changes=login)
    assert second.returncode == 0, second.stderr
    result = json.loads(second.stdout)
    assert result["tracking_uri"] == json.loads(first.stdout)["tracking_uri"] == team.uri
    assert len(optuna.load_study(study_name="smoke", storage=storage).trials) == 2
    told = team.admin.post("runs/search", experiment_ids=[result["experiment_id"]]).json()["runs"]
    tags = [{tag["key"]: tag["value"] for tag in one["data"]["tags"]} for one in told]
    assert sorted(tag["sweep.kind"] for tag in tags) == ["study", "trial", "trial"]
    shown = [one.stdout + one.stderr for one in (wrong, first, second)]
    kept = [
        *files(real_cli.folder).values(),
        *files(team.artifacts).values(),
        str(contents(postgres, team.database)).encode(),
    ]
    for secret in (ADMIN, quote(ADMIN), postgres.password):
        assert not [text for text in shown if secret in text]
        assert not [data for data in kept if secret.encode() in data]


# Secrets


def test_no_secret_is_in_a_log_an_argument_or_a_file(team: Team, postgres: Postgres) -> None:
    secrets = (postgres.password, ADMIN, KEY)
    shown = [" ".join(process.cmdline()) for process in team.family] + [team.log.read_text()]
    temporary = Path(tempfile.gettempdir()).glob("mlflow-server-*/*")
    shown += [path.read_text() for path in temporary if path.is_file()]
    assert len(shown) > 3
    for secret in secrets:
        for form in (secret, quote(secret)):
            assert not [text for text in shown if form in text]
