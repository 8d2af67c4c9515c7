"""Nothing lost: workers and drivers that are killed for real, in the middle of real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState
from tests.conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WORDS = ("run", "--sweep", "smoke", "--train-images", "4000", "--epochs", "4", "--no-lab", "--trials", "4")
ONE_WORKER = (*WORDS, "--workers", "1")
PATIENCE_S = 120.0


def events(home: Path) -> list[Event]:
    path = home / "studies" / "smoke" / "ledger.db"
    if not path.exists():
        return []
    ledger = Ledger(path)
    try:
        return ledger.events()
    finally:
        ledger.close()


def wait_for(what: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def workers_of(driver: int) -> list[int]:
    """Processes that the driver's fork server has forked and that train now."""

    def children(pid: int) -> list[int]:
        try:
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def command(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:  # it has ended
            return ""

    servers = [pid for pid in children(driver) if "forkserver" in command(pid)]
    return [worker for server in servers for worker in children(server)]


def killed_one(driver: int, home: Path) -> bool:
    """Kills the one worker while it is sure to be missed; False if it had done its work already.

    A worker that is stopped says nothing: once the driver has heard all that was on its way, the ledger
    shows whether the driver still counts on it.
    """
    for worker in workers_of(driver)[:1]:
        os.kill(worker, signal.SIGSTOP)
        time.sleep(3.0)
        missed = workers_of(driver) == [worker] and bool(StudyState.of(events(home)).trials("running"))
        try:
            os.kill(worker, signal.SIGKILL if missed else signal.SIGCONT)
        except ProcessLookupError:  # the driver has ended it: its trial was set aside
            return False
        return missed
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def figures(home: Path) -> dict[str, Any]:
    """Everything that must not depend on interruptions: nets, curves, endings."""
    state = StudyState.of(events(home))
    return {
        job.key: (
            job.fingerprint,
            job.state,
            [(report.epoch, report.val_loss, report.val_accuracy, report.train_loss) for report in job.reports],
            job.result.weights_sha256 if job.result else "",
        )
        for job in state.jobs.values()
    }


def check_agreement(home: Path, result: dict[str, Any]) -> None:
    """Ledger, MLflow and Optuna tell the same, and nothing runs on."""
    import mlflow

    state = StudyState.of(events(home))
    client = mlflow.MlflowClient(tracking_uri=result["tracking_uri"], registry_uri=result["tracking_uri"])
    runs = client.search_runs([result["experiment_id"]])
    assert [run.info.status for run in runs] == ["FINISHED"] * len(runs)
    trials = {int(run.data.tags["sweep.trial"]): run for run in runs if run.data.tags["sweep.kind"] == "trial"}
    assert len(trials) == len(runs) - 1 == 4
    study = optuna.load_study(study_name="smoke", storage=f"sqlite:///{home / 'optuna.db'}")
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    for job in state.trials():
        run, trial = trials[job.number], study.trials[job.number]
        assert run.info.run_id == job.run_id
        assert run.data.tags["sweep.state"] == job.state
        assert trial.state.name.lower() == job.state
        curve = [point.value for point in client.get_metric_history(job.run_id, "val_accuracy")]
        assert curve == [report.val_accuracy for report in job.reports]
        assert list(trial.intermediate_values.values()) == curve
        assert run.data.metrics["best_val_accuracy"] == job.best


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, source: Any) -> dict[str, Any]:
    cli = Cli(tmp_path_factory.mktemp("whole"), source.folder)
    cli.json(*ONE_WORKER)
    return figures(cli.folder / "fmnist_runs")


def test_the_same_seed_with_one_worker_gives_the_same_twice(real_cli: Cli, uninterrupted: dict[str, Any]) -> None:
    real_cli.json(*ONE_WORKER)
    assert figures(real_cli.folder / "fmnist_runs") == uninterrupted


def test_a_killed_driver_takes_its_workers_along_and_the_next_one_goes_on(
    real_cli: Cli, uninterrupted: dict[str, Any]
) -> None:
    home = real_cli.folder / "fmnist_runs"
    for reports in (2, 6):
        child = real_cli.start(*ONE_WORKER)
        wait_for(lambda: sum(event.kind == "report" for event in events(home)) >= reports, child)  # noqa: B023
        workers = workers_of(child.pid)
        child.kill()
        child.communicate()
        deadline = time.monotonic() + PATIENCE_S
        while any(alive(pid) for pid in workers):
            assert time.monotonic() < deadline, "a worker outlived its driver"
            time.sleep(0.05)
    result = real_cli.json(*ONE_WORKER)
    assert sum(result["trials"][state] for state in ("complete", "pruned", "failed")) == 4
    check_agreement(home, result)
    assert figures(home) == uninterrupted


def test_a_killed_worker_goes_on_from_its_checkpoint(real_cli: Cli, uninterrupted: dict[str, Any]) -> None:
    home = real_cli.folder / "fmnist_runs"
    child = real_cli.start(*ONE_WORKER, "--json")
    wait_for(lambda: any(event.kind == "report" for event in events(home)), child)
    wait_for(lambda: killed_one(child.pid, home), child)
    stdout, stderr = child.communicate(timeout=240)
    assert child.returncode == 0, stderr
    check_agreement(home, json.loads(stdout))  # one run for each trial, and all of it in that
    died = [event for event in events(home) if event.kind == "died"]
    assert {event.body["message"] for event in died} == {"the worker was ended by SIGKILL"}
    assert "it goes on from its checkpoint" in stderr
    assert figures(home) == uninterrupted


def test_ctrl_c_stops_at_a_checkpoint_and_the_same_command_goes_on(
    real_cli: Cli, uninterrupted: dict[str, Any]
) -> None:
    home = real_cli.folder / "fmnist_runs"
    child = real_cli.start(*ONE_WORKER)
    wait_for(lambda: sum(event.kind == "report" for event in events(home)) >= 3, child)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert "the same command goes on from here" in stderr
    state = StudyState.of(events(home))
    assert state.unfinished()
    check_no_run_is_running(home)
    result = real_cli.json(*ONE_WORKER)
    check_agreement(home, result)
    assert figures(home) == uninterrupted


def check_no_run_is_running(home: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke").experiment_id
    assert "RUNNING" not in [run.info.status for run in client.search_runs([experiment])]


def test_two_workers_killed_twice_end_with_exactly_the_target(real_cli: Cli) -> None:
    home = real_cli.folder / "fmnist_runs"
    for reports in (1, 5):
        child = real_cli.start(*WORDS)
        wait_for(lambda: sum(event.kind == "report" for event in events(home)) >= reports, child)  # noqa: B023
        child.kill()
        child.communicate()
    check_agreement(home, real_cli.json(*WORDS))


def test_a_second_driver_on_one_study_is_refused(real_cli: Cli) -> None:
    home = real_cli.folder / "fmnist_runs"
    child = real_cli.start(*ONE_WORKER)
    wait_for(lambda: any(event.kind == "asked" for event in events(home)), child)
    second = real_cli.run(*ONE_WORKER)
    assert second.returncode == 1
    assert f"is being run by another process (pid {child.pid})" in second.stderr
    child.kill()
    child.communicate()
