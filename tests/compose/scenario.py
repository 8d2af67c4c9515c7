"""What the test does with the stack, step by step; each step checks something and says how long it took."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compose.engine import Engine
from tests.compose.programs import ROOT, ComposeError, Steps, compose_program, run, until
from tests.compose.records import Records
from tests.compose.stack import WORKERS, Stack

STUDY = "smoke"
TRIALS = 6
_SMALL = ("--sweep", "smoke", "--trials", str(TRIALS), "--train-images", "12000", "--no-lab")
_BACKUP = "/backups/first"
_MODEL = "/runs/exports/best"


@dataclass(frozen=True, slots=True)
class Found:
    """What the sweep left, as it must be found again after a restore."""

    runs: dict[str, dict[str, Any]]
    champion: str
    best_run: str
    status: dict[str, Any]


def check(holds: bool, what: str) -> None:
    """Stops the test if something that must hold doesn't.

    Raises:
        ComposeError: It doesn't.
    """
    if not holds:
        raise ComposeError(what)


def refuses_without_secrets(engine: Engine) -> None:
    """Without an ``.env`` Compose names the variable that is missing, and does nothing."""
    words = ("--project-name", "without", "--env-file", "/dev/null", "--file", str(ROOT / "docker-compose.yml"), "up")
    done = run(str(compose_program()), *words, changes=engine.environment, ok=False)
    check(done.returncode != 0 and "is missing a value" in done.stderr, f"it starts without secrets: {done.stderr}")


def is_hardened(stack: Stack, services: Iterable[str]) -> None:
    """Each container runs as somebody, on a root that can't be written, with limits and without capabilities."""
    for service in services:
        for container in stack.containers(service):
            facts = stack.inspect(container)
            host = facts["HostConfig"]
            shown = {
                "user": facts["Config"]["User"] not in ("", "0", "root"),
                "read-only root": host["ReadonlyRootfs"],
                "no capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
                "memory": host["Memory"] > 0,
                "processors": host["NanoCpus"] > 0,
                "processes": host["PidsLimit"] > 0,
            }
            check(all(shown.values()), f"{service}: {shown}")
            published = [port["HostIp"] for ports in (host["PortBindings"] or {}).values() for port in ports]
            check(set(published) <= {"127.0.0.1"}, f"{service} is published on {published}")


def loses_a_worker(stack: Stack, records: Records, output: Path) -> dict[str, Any]:
    """Runs the sweep, and kills one of the two workers once both are at work.

    Returns:
        What ``run --json`` printed.
    """
    sweep = stack.start("run", "--rm", "-T", "sweep", "run", *_SMALL, "--json", output=output)
    try:
        until("two trials under way", lambda: sweep.poll() is not None or _busy(records) >= 2, 600)
        check(sweep.poll() is None, f"the sweep ended before a worker could be killed: {_last_words(output)}")
        workers = stack.containers("ray-worker")
        check(len(workers) == WORKERS, f"the sweep found {WORKERS} workers and left {len(workers)}")
        stack.engine.docker("kill", "--signal", "KILL", workers[0])
        sweep.wait(900)
    except subprocess.TimeoutExpired:
        raise ComposeError("the sweep did not end within 15 minutes after a worker's death") from None
    finally:
        if sweep.poll() is None:
            sweep.terminate()
            sweep.wait()
    check(sweep.returncode == 0, f"the sweep ended with {sweep.returncode}: {_last_words(output)}")
    check(len(stack.containers("ray-worker")) == 1, "the killed worker is back")
    result: dict[str, Any] = json.loads(output.read_text())
    counts = result["trials"]
    check(counts["complete"] + counts["pruned"] == TRIALS, f"of {TRIALS} trials: {counts}")
    return result


def _busy(records: Records) -> int:
    experiment = records.experiment(STUDY)
    return sum(run["status"] == "RUNNING" for run in records.runs(experiment).values()) if experiment else 0


def _last_words(output: Path) -> str:
    return output.with_suffix(".err").read_text()[-2000:].strip()


def compares(stack: Stack, records: Records, result: dict[str, Any]) -> Found:
    """What MLflow tells of the trials is what the sweep printed."""
    runs = records.runs(records.experiment(STUDY))
    check(sorted(int(run["trial"]) for run in runs.values()) == list(range(TRIALS)), f"trials in MLflow: {runs}")
    check(all(run["status"] == "FINISHED" for run in runs.values()), f"states in MLflow: {runs}")
    best = result["best"]
    seen = runs[best["run_id"]]["metrics"]["best_val_accuracy"]
    check(abs(seen - best["val_accuracy"]) < 1e-6, f"the best is {best['val_accuracy']}, MLflow says {seen}")
    ranked = max(runs, key=lambda name: runs[name]["metrics"]["best_val_accuracy"])
    check(runs[ranked]["metrics"]["best_val_accuracy"] <= seen, "another run is better than the best")
    return Found(runs, records.champion(), best["run_id"], stack.sweep("status", "--study", STUDY))


def exports(stack: Stack, scratch: Path) -> None:
    """The best model comes out of the stack as a folder on this machine."""
    stack.sweep("export", "--study", STUDY, "--out", _MODEL)
    folder = _taken(stack, scratch, "model.tar", "sweep", "-C", "/runs/exports", "-c", "best") / "best"
    check(any(folder.rglob("*.keras")), f"no model in {sorted(folder.rglob('*'))}")


def backs_up(stack: Stack, scratch: Path) -> list[Path]:
    """Database and artifacts while the server runs, and the sweep's own folder; both as archives out of the stack."""
    stack.compose("exec", "-T", "mlflow", "python", "-m", "mlflow_server", "backup", "--to", _BACKUP)
    return [
        _archive(stack, scratch / "mlflow.tar", "mlflow", "-C", "/backups", "-c", "first"),
        _archive(stack, scratch / "runs.tar", "sweep", "-C", "/runs", "-c", "."),
    ]


def restores(stack: Stack, archives: list[Path]) -> None:
    """A new stack, filled from the archives before MLflow's server starts."""
    stack.compose("up", "--detach", "--wait", "postgres", timeout_s=300)
    tar = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "tar")
    stack.unpack(archives[0], *tar, "mlflow", "-C", "/backups", "-x")
    stack.unpack(archives[1], *tar, "sweep", "-C", "/runs", "-x")
    stack.compose("run", "--rm", "-T", "mlflow", "restore", "--from", _BACKUP)


def finds_all_again(stack: Stack, records: Records, before: Found) -> None:
    """Runs, champion, artifacts and trials are those from before, and the doctor has nothing to say."""
    runs = records.runs(records.experiment(STUDY))
    check(runs == before.runs, f"runs differ: {runs} and {before.runs}")
    check(records.champion() == before.champion, "another champion")
    for path in records.artifacts(before.best_run):
        if "." in path:
            check(len(records.artifact(before.best_run, path)) > 0, f"artifact {path} is empty")
    check(stack.sweep("status", "--study", STUDY) == before.status, "the study's status differs")
    stack.sweep("doctor", "--study", STUDY, "--fix")  # Optuna's storage comes back from the ledger
    healthy = stack.sweep("doctor", "--study", STUDY)
    check(not healthy["findings"], f"the doctor finds {healthy['findings']}")


def _archive(stack: Stack, file: Path, service: str, *words: str) -> Path:
    command = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "tar", service, *words)
    packing = stack.start(*command, output=file)
    check(packing.wait(600) == 0, f"{command}: {_last_words(file)}")
    return file


def _taken(stack: Stack, scratch: Path, name: str, service: str, *words: str) -> Path:
    folder = scratch / "taken"
    folder.mkdir()
    run("tar", "-C", folder, "-x", "-f", _archive(stack, scratch / name, service, *words))
    return folder


def go(stack: Stack, steps: Steps, scratch: Path) -> None:
    """The whole scenario, from images that are built to a stack that is gone.

    Raises:
        ComposeError: Something is not as it must be.
    """
    records = Records(f"http://127.0.0.1:{stack.settings['MLFLOW_PORT']}", stack.settings["MLFLOW_ADMIN_PASSWORD"])
    refuses_without_secrets(stack.engine)
    steps.done("without secrets it refuses to start")
    stack.compose("up", "--detach", "--wait", timeout_s=900)
    steps.done("PostgreSQL, MLflow, Ray with two workers are up and healthy")
    is_hardened(stack, ("postgres", "mlflow", "ray-head", "ray-worker"))
    check(records.refuses_strangers(), "MLflow answers one without a password")
    steps.done("containers are locked down, and MLflow asks for a password")
    result = loses_a_worker(stack, records, scratch / "run.json")
    steps.done(f"{TRIALS} trials on two workers, one of them killed: nothing lost")
    found = compares(stack, records, result)
    steps.done("MLflow's API tells the same")
    exports(stack, scratch)
    steps.done("the best model is exported and taken out")
    archives = backs_up(stack, scratch)
    steps.done("backup taken")
    stack.end()
    steps.done("all taken down, volumes too")
    restores(stack, archives)
    stack.compose("up", "--detach", "--wait", timeout_s=900)
    steps.done("restored into a new stack")
    finds_all_again(stack, records, found)
    steps.done("everything is found again, and the doctor finds nothing wrong")
    stack.end()
    steps.done("taken down")
