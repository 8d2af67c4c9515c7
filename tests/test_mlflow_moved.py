"""A home folder that was moved or copied: MLflow's files are in it, and not where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.home import Home
from fmnist_sweep.views import mlflow_moved
from fmnist_sweep.views.mlflow_client import address
from tests.home_copies import client_at

pytestmark = pytest.mark.filterwarnings("ignore")


def begun(path: Path, study: str) -> tuple[Any, str]:
    """A home folder with one run that has an artifact: its client and the run."""
    (path / "studies").mkdir(parents=True)
    client = client_at(path)
    location = (Home(path).artifacts / study).as_uri()
    run = client.create_run(client.create_experiment(study, artifact_location=location)).info.run_id
    client.log_text(run, "before", "first.txt")
    return client, str(run)


@pytest.mark.parametrize("copied", [False, True])
def test_old_files_are_found_and_new_ones_are_in_the_folder(tmp_path: Path, copied: bool) -> None:
    old, new = tmp_path / "a home", tmp_path / "another%home"
    _, run = begun(old, "s1")
    (shutil.copytree if copied else shutil.move)(old, new)
    client = client_at(new)
    client.log_text(run, "after", "second.txt")
    assert {path.name for path in new.rglob("*.txt")} == {"first.txt", "second.txt"}
    assert {path.name for path in old.rglob("*.txt")} == ({"first.txt"} if copied else set())
    assert Path(client.download_artifacts(run, "first.txt")).read_text() == "before"
    assert client.get_run(run).info.artifact_uri.startswith(new.as_uri())


def test_studies_of_another_home_that_shares_the_store_stay_where_they_are(tmp_path: Path) -> None:
    client, _ = begun(tmp_path / "mine", "s1")
    theirs = tmp_path / "theirs" / "mlartifacts" / "s2"
    theirs.mkdir(parents=True)
    number = client.create_experiment("s2", artifact_location=theirs.as_uri())
    assert mlflow_moved.follow(f"sqlite:///{tmp_path / 'mine' / 'mlflow.db'}") == 0
    assert client.get_experiment(number).artifact_location == theirs.as_uri()


@pytest.mark.parametrize("uri", ["http://team:5000", "sqlite:///{}/nowhere.db", "sqlite:///{}/alone.db"])
def test_what_is_no_homes_own_store_is_left_alone(tmp_path: Path, uri: str) -> None:
    (tmp_path / "alone.db").write_bytes(b"this is no database")
    assert mlflow_moved.follow(uri.format(tmp_path)) == 0


def test_a_store_that_is_named_from_where_one_stands_is_recorded_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert address("sqlite:///t.db?timeout=3", Home(tmp_path / "home")) == f"sqlite:///{tmp_path / 't.db'}?timeout=3"
    assert address("sqlite:///home/mlflow.db", Home(tmp_path / "home")) == ""
