"""The soak's own parts, twenty rounds of it, and damage that its checks must not miss."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_sweep.data import DataSource
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.mlflow_client import connect
from tests.conftest import Cli
from tests.soak import __main__ as command
from tests.soak import faults, processes
from tests.soak.checks import Checks
from tests.soak.faults import KINDS, Fault
from tests.soak.result import SoakResult
from tests.soak.sweep import Struck
from tests.stand_ins import wait_for


def test_the_same_seed_gives_the_same_faults_and_many_give_every_kind() -> None:
    assert faults.draw(3, 50) == faults.draw(3, 50)
    assert faults.draw(3, 50) != faults.draw(4, 50)
    assert faults.draw(3, 50)[:20] == faults.draw(3, 20)
    many = faults.draw(0, 3_000)
    assert {(it.target, it.signals) for it in many} == {
        (who, what) for who, (_, all_) in KINDS.items() for what in all_
    }
    assert {it.moment for it in many} == {"after the last fault", "once all is trained"}


def test_marked_processes_are_found_with_their_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.MARK, "")  # put back afterwards
    mark = processes.new_mark()
    assert processes.marked(mark) == []
    nap = "import subprocess, sys, time; print('up', flush=True); time.sleep(120)"
    words = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {nap!r}])"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        found = processes.marked(mark)
        assert {it.group for it in found} == {child.pid}
        assert sorted(it.parent for it in found) == sorted([os.getpid(), child.pid])
        assert processes.send(child.pid, signal.SIGKILL, group=True)
    wait_for(lambda: not processes.send(child.pid, signal.SIGKILL, group=True), "the end of both")


def test_the_result_is_told_in_numbers_and_in_words(tmp_path: Path) -> None:
    fault = Fault("worker", (signal.SIGSTOP, signal.SIGKILL), "after the last fault", 1.5, 0.25, 0.5)
    result = SoakResult(7, [Struck(fault, "soak-000", 12.3456, 2)], 1, 6, 3, 90, 2, 1, ["trial-0001 is lost"], 61.0)
    result.write(tmp_path / "soak.json")
    told = json.loads((tmp_path / "soak.json").read_text())
    assert (told["rounds"], told["violations"]) == (1, ["trial-0001 is lost"])
    assert told["faults"] == [{"target": "worker", "kind": "SIGSTOP + SIGKILL", "count": 1}]
    assert (told["moments"][0]["at_s"], told["moments"][0]["wait_s"]) == (12.346, 1.5)
    text = (tmp_path / "soak.md").read_text()
    assert "| worker | SIGSTOP + SIGKILL | 1 |" in text
    assert "- trial-0001 is lost" in text


@pytest.mark.slow
@pytest.mark.timeout(2700)
@pytest.mark.filterwarnings("ignore")
def test_twenty_rounds_lose_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--rounds", "20", "--seed", "7", "--out", str(tmp_path / "soak.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "soak.json").read_text())
    assert told["rounds"] == 20
    assert told["violations"] == []
    assert told["models"] > 0


# --- what the checks must see


def checked(home: Path, name: str, known: Checks | None = None) -> tuple[str, ...]:
    settings = Settings(home=Home(home), study=name)
    return (known or Checks(4, np.zeros((2, 28, 28, 1), np.float32))).check(settings).violations


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute(statement, values).rowcount


def lose_a_report(home: Path) -> None:
    execute(home / "mlflow.db", "DELETE FROM metrics WHERE key = 'val_loss' AND step = 1")


def alter_a_figure(home: Path) -> None:
    execute(home / "optuna.db", "UPDATE trial_values SET value = value / 2")


def alter_weights(home: Path) -> None:
    with next((home / "studies").glob("*/jobs/trial-*/weights.npz")).open("r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2\3")


def client_of(home: Path) -> Any:
    return connect(Home(home).mlflow_uri)


def forget_a_model(home: Path) -> None:
    with closing(Ledger(home / "studies" / "smoke" / "ledger.db")) as ledger:
        uri = next(job.model_uri for job in StudyState.of(ledger.events()).trials() if job.model_uri)
    client_of(home).delete_logged_model(uri.removeprefix("models:/"))


def add_a_run(home: Path) -> None:
    client = client_of(home)
    experiment = client.get_experiment_by_name("smoke").experiment_id
    twin = client.search_runs([experiment], "tags.`sweep.trial` = '0'")[0]
    client.create_run(experiment, tags=twin.data.tags)


@pytest.fixture(scope="module")
def without_lab(tmp_path_factory: pytest.TempPathFactory, source: DataSource) -> Path:
    """A study without the lab's nets, as the soak's are."""
    folder = tmp_path_factory.mktemp("trials-only")
    cli = Cli(folder, source.folder)
    small = ("--train-images", "500", "--epochs", "1", "--no-lab", "--trials", "4")
    cli.json("run", "--sweep", "smoke", "--home", "home", *small)
    return folder / "home"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", [lose_a_report, alter_a_figure, alter_weights, forget_a_model, add_a_run])
def test_damage_is_seen(without_lab: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    shutil.copytree(without_lab, tmp_path / "home")
    damage(tmp_path / "home")
    assert checked(tmp_path / "home", "smoke")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sound_study_passes_and_one_with_other_figures_of_the_same_trial_does_not(without_lab: Path) -> None:
    checks = Checks(4, np.zeros((2, 28, 28, 1), np.float32))
    assert checked(without_lab, "smoke", checks) == ()
    with closing(Ledger(without_lab / "studies" / "smoke" / "ledger.db")) as ledger:
        trial = StudyState.of(ledger.events()).trials()[0]
    known: dict[Any, Any] = checks._known
    known[trial.number, 0] = (*known[trial.number, 0][:-1], 0.123)
    assert len(checked(without_lab, "smoke", checks)) == 1


def test_the_command_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rounds", "0"])
    assert "--rounds is 0" in capsys.readouterr().err
