"""The doctor: every kind of damage done for real to a finished study, found, mended, and not found again."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from rich.console import Console

from fmnist_sweep import ledger as ledger_module
from fmnist_sweep.commands import doctor as command
from fmnist_sweep.data import DataSource
from fmnist_sweep.doctor import Visit, files, records, visit, visit_home
from fmnist_sweep.doctor.findings import Finding
from fmnist_sweep.doctor.look import Look, look
from fmnist_sweep.ledger import Ledger
from tests.conftest import Cli, Study
from tests.doctor_damage import (
    MENDED,
    Damage,
    Said,
    alias_moved_to_a_worse_model,
    erase,
    folder_of_no_job,
    run_gone_for_good,
    value_altered_in_optuna,
)
from tests.doctor_patient import NAME, Patient, copied

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def patient(finished: Study, source: DataSource, tmp_path: Path) -> Iterator[Patient]:
    with copied(finished.home, source.folder, tmp_path / "home") as made:
        yield made


@pytest.fixture
def judged_patient(judged: Study, source: DataSource, tmp_path: Path) -> Iterator[Patient]:
    with copied(judged.home, source.folder, tmp_path / "home") as made:
        yield made


def test_a_finished_study_is_well(patient: Patient) -> None:
    assert patient.look().checked == ()
    assert patient.mend().checked == ()


@pytest.mark.parametrize("damages", MENDED.values(), ids=MENDED)
def test_damage_is_found_mended_and_not_found_again(patient: Patient, damages: list[Damage]) -> None:
    expected = [damage(patient) for damage in damages]
    looked = patient.look()
    assert not [said for said in expected if not looked_like(looked, said)], looked.checked
    assert not any(checked.fixed for checked in looked.checked)
    mended = patient.mend()
    assert [checked for checked in mended.checked if not checked.fixed] == []
    assert not [said for said in expected if not looked_like(mended, said)]  # so that the look mended nothing
    assert patient.look().checked == ()


def test_what_is_set_aside_is_all_there(patient: Patient) -> None:
    folder_of_no_job(patient)
    value_altered_in_optuna(patient)
    altered = [(trial.number, trial.value) for trial in patient.optuna().trials]
    assert all(checked.fixed for checked in patient.mend().checked)
    assert (patient.folder.path / "aside" / "trial-0099" / "weights.npz").read_bytes() == b"precious"
    (aside,) = set(optuna.get_all_study_names(patient.settings.optuna)) - {NAME}
    kept = optuna.load_study(study_name=aside, storage=patient.settings.optuna).trials
    assert [(trial.number, trial.value) for trial in kept] == altered


def test_a_study_that_was_judged_is_mended_with_its_finals(judged_patient: Patient) -> None:
    """A final that was tested needs its weights no more, but for the champion's; the alias is the finals' to give."""
    state = judged_patient.state
    assert state.compared is not None
    won = state.compared["champion"]["job"]
    lost = next(job for job in state.of_kind("final") if job.kept and job.key != won)
    (judged_patient.folder.job(lost.key) / "weights.npz").unlink()
    damage = alias_moved_to_a_worse_model(judged_patient)
    looked = judged_patient.look()
    assert looked_like(looked, damage)
    assert looked_like(looked, ("checksum", f"{lost.key}: jobs/{lost.key}/weights.npz is missing; its test scores"))
    assert [checked for checked in judged_patient.mend().checked if not checked.fixed] == []
    assert judged_patient.look().checked == ()
    assert not judged_patient.job(lost.key).kept
    assert judged_patient.job(lost.key).tested is not None
    assert judged_patient.client.get_model_version_by_alias("fmnist-sweep", "champion").tags["sweep.job"] == won


def test_what_is_mended_ten_hours_later_costs_the_study_no_ten_hours(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_gone_for_good(patient)
    before = patient.state
    monkeypatch.setattr(
        ledger_module, "time", SimpleNamespace(time=lambda: time.time() + 36_000, monotonic=time.monotonic)
    )
    assert patient.mend().checked
    after = patient.state
    assert after.seq > before.seq
    assert after.wall_s < before.wall_s + 3_600
    assert (after.target, after.storage) == (before.target, before.storage)


def looked_like(visited: Visit, said: Said) -> bool:
    findings = [checked.finding for checked in visited.checked]
    return any(found.kind == said[0] and found.what.startswith(said[1]) for found in findings)


# What only people can mend: found, left as it is, and said how to go on.


def open_findings(visited: Visit) -> list[Said]:
    return [(checked.finding.kind, checked.finding.what) for checked in visited.checked if not checked.fixed]


def damaged_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:-2048] = b"\xff" * 2048
    path.write_bytes(content)


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no ledger" * 500)


def lost_event(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("DELETE FROM events WHERE kind = 'report' AND job = 'lab-mlp' AND place = 3").rowcount == 1


def lost_beginning(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("DELETE FROM events WHERE kind = 'asked' AND job = 'lab-mlp'").rowcount == 1


@pytest.mark.parametrize("damage", [damaged_page, no_database, lost_event, lost_beginning])
def test_a_ledger_that_can_not_be_trusted_is_named_and_nothing_is_touched(
    patient: Patient, damage: Callable[[Path], None]
) -> None:
    damage(patient.folder.ledger)
    before = patient.folder.ledger.read_bytes()
    patient.client.delete_run(run := patient.client.search_runs(["1"], max_results=1)[0].info.run_id)
    for visited in (patient.look(), patient.mend()):
        ((kind, what),) = open_findings(visited)
        assert kind == "ledger"
        assert str(patient.folder.ledger) in what
        assert "\n" not in what
    assert patient.folder.ledger.read_bytes() == before
    assert patient.client.get_run(run).info.lifecycle_stage == "deleted"


def test_runs_that_nobody_knows_are_left_alone(patient: Patient) -> None:
    tags = patient.client.get_run(patient.best.run_id).data.tags
    unknown = patient.client.create_run(patient.experiment, tags={**tags, "sweep.job": "trial-0099"}).info.run_id
    mine = patient.client.create_run(patient.experiment, run_name="my own").info.run_id
    for visited in (patient.look(), patient.mend()):
        ((kind, what),) = open_findings(visited)
        assert kind == "orphan"
        assert unknown in what
    stages = [patient.client.get_run(run).info.lifecycle_stage for run in (unknown, mine)]
    assert stages == ["active", "active"]


def test_weights_that_nothing_brings_back_stay_open_with_the_command_that_trains_them(patient: Patient) -> None:
    patient.client.delete_logged_model(patient.best.model_uri.removeprefix("models:/"))
    (patient.folder.job(patient.best.key) / "weights.npz").unlink()
    visited = patient.mend()
    assert (
        "checksum",
        f"trial {patient.best.number}: jobs/{patient.best.key}/weights.npz is missing",
    ) in open_findings(visited)
    advice = next(checked.finding.advice for checked in visited.checked if checked.finding.kind == "checksum")
    assert f"run --study {NAME} --fresh --trials {len(patient.state.trials())}" in advice


def test_a_study_that_a_driver_holds_is_only_looked_at(patient: Patient) -> None:
    patient.client.delete_run(patient.best.run_id)
    (patient.folder.job(patient.best.key) / "checkpoint").write_bytes(b"x")
    with patient.folder.locked():
        looked, refused = patient.look(), patient.mend()
    assert looked.in_use
    assert [kind for kind, _ in open_findings(looked)] == ["missing"]
    assert [kind for kind, _ in open_findings(refused)] == ["in use", "missing"]
    assert patient.client.get_run(patient.best.run_id).info.lifecycle_stage == "deleted"


def test_another_store_is_not_filled_by_mistake(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    patient.settings = replace(patient.settings, tracking_uri=f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}")
    for visited in (patient.look(), patient.mend()):
        ((kind, what),) = open_findings(visited)
        assert (kind, "does not have this study" in what) == ("unreachable", True)
        assert f"--tracking-uri sqlite:///{patient.home.path / 'mlflow.db'}" in visited.checked[0].finding.advice
    assert not (tmp_path / "elsewhere" / "mlflow.db").exists()


def test_a_store_that_can_not_be_read_is_said(patient: Patient) -> None:
    (patient.home.path / "optuna.db").write_bytes(b"this is no database" * 100)
    for visited in (patient.look(), patient.mend()):
        ((kind, what),) = open_findings(visited)
        assert (kind, what.startswith("--storage ")) == ("unreachable", True)


def test_leftovers_in_the_home_folder_are_removed_once_nobody_can_be_writing_them(patient: Patient) -> None:
    old, new = (patient.home.path / f".mlflow.db.{pid}.0123abcd" for pid in (99_999_999, 99_999_998))
    running = patient.home.path / f".optuna.db.{os.getpid()}.0123abcd"
    export = patient.home.exports / ".export-abc"
    export.mkdir(parents=True)
    for path in (old, new, running):
        path.write_bytes(b"half")
    for path in (old, running, export):
        os.utime(path, (0, 0))
    assert len(visit_home(patient.home, fix=False)) == 2
    assert all(checked.fixed for checked in visit_home(patient.home, fix=True))
    assert [path.exists() for path in (old, new, running, export)] == [False, True, True, False]


def test_the_champions_weights_are_brought_back_from_mlflow_and_not_given_up(judged_patient: Patient) -> None:
    state = judged_patient.state
    assert state.compared is not None
    won = state.compared["champion"]["job"]
    weights = judged_patient.folder.job(won) / "weights.npz"
    before = weights.read_bytes()
    weights.unlink()
    assert all(checked.fixed for checked in judged_patient.mend().checked)
    assert weights.read_bytes() == before
    assert judged_patient.job(won).kept


def test_a_locked_ledger_is_no_damaged_one(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_BUSY_S", 0.1)
    monkeypatch.setattr(records, "_PATIENCE_S", 0.1)
    with closing(sqlite3.connect(patient.folder.ledger, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        (checked,) = patient.look().checked
    assert (checked.finding.kind, "--fresh" in checked.finding.advice) == ("ledger", False)
    assert "another program holds it" in checked.finding.advice


def test_a_whole_export_that_lost_its_name_is_not_removed(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = patient.home.exports / ".export-abc-old"
    lost.mkdir(parents=True)
    os.utime(lost, (0, 0))
    monkeypatch.setattr(files, "_trouble", lambda _: "")
    (checked,) = visit_home(patient.home, fix=True)
    assert (checked.fixed, lost.exists()) == (False, True)
    assert "give it a name" in checked.finding.advice


# From the command line


def test_a_doctor_that_is_killed_at_work_is_followed_by_one_that_ends_it(
    patient: Patient, source: DataSource, tmp_path: Path
) -> None:
    for run in patient.client.search_runs([patient.experiment]):
        erase(patient, run.info.run_id)
    child = Cli(tmp_path, source.folder).start("doctor", "--home", "home", "--fix")
    begun = time.monotonic()
    with closing(Ledger(patient.folder.ledger)) as ledger:
        told = len(ledger.events())
        while len(ledger.events()) < told + 14:  # in the midst of showing the runs anew
            assert child.poll() is None, child.communicate()[1]
            assert time.monotonic() - begun < 120, "waited in vain for the doctor to begin"
    child.kill()
    child.communicate()
    assert [checked for checked in patient.mend().checked if not checked.fixed] == []
    assert patient.look().checked == ()
    state = patient.state
    runs = patient.client.search_runs([state.views["experiment_id"]])
    assert sorted(run.info.run_id for run in runs) == sorted(
        [state.views["study_run_id"], *(job.run_id for job in state.jobs.values())]
    )


def test_people_read_what_was_found_and_what_to_type_and_programs_the_same(
    patient: Patient, source: DataSource, tmp_path: Path
) -> None:
    patient.client.update_run(patient.best.run_id, status="RUNNING")
    looked = Cli(tmp_path, source.folder).run("doctor", "--home", "home", "--json")
    assert looked.returncode == 1
    (finding,) = json.loads(looked.stdout)["findings"]
    assert {"kind": "zombie", "fixed": False, "study": NAME, "mendable": True}.items() <= finding.items()
    for part in (
        "5 lab nets",
        "1 finding, 0 mended, 1 open.",
        finding["what"],
        "mends 1 of 1",
        "doctor --fix --home home",
    ):
        assert part in " ".join(looked.stderr.split())
    assert max(len(line) for line in looked.stderr.splitlines()) <= 80
    said = io.StringIO()
    mended = command.doctor(patient.settings, fix=True, console=Console(file=said, width=80))
    assert mended.code == 0
    (finding,) = mended.result["findings"]
    assert {"kind": "zombie", "fixed": True}.items() <= finding.items()
    assert "1 finding, all mended." in said.getvalue()
    assert f"were compared, of study {NAME}." in " ".join(said.getvalue().split())


def test_what_the_last_look_can_not_read_is_not_said_to_be_mended(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, looks = sys.modules["fmnist_sweep.doctor.visit"], list[Look]()

    def fading(*args: Any, **options: Any) -> Look:
        looks.append(look(*args, **options))
        if len(looks) > 1:
            looks[-1].findings, looks[-1].mlflow = [Finding("unreachable", "MLflow is away")], None
        return looks[-1]

    patient.client.update_run(patient.best.run_id, status="RUNNING")
    monkeypatch.setattr(module, "look", fading)
    zombie, away = patient.mend().checked
    assert (zombie.finding.kind, zombie.fixed, zombie.why_not) == ("zombie", False, "it could not be looked at again")
    assert (away.finding.kind, away.fixed) == ("unreachable", False)


def test_a_run_that_could_not_be_deleted_is_replaced_the_next_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ConnectionError("away")

    patient.sql("UPDATE params SET value = 'altered' WHERE run_uuid = ? AND key = 'depth'", patient.best.run_id)
    monkeypatch.setattr(type(patient.client), "delete_run", refuse)
    assert [it.fixed for it in patient.mend().checked if it.finding.kind == "params"] == [False]
    monkeypatch.undo()
    assert all(it.fixed for it in patient.mend().checked)
    assert patient.look().checked == ()


def test_one_model_that_brings_nothing_back_keeps_no_other_from_being_brought_back(patient: Patient) -> None:
    first, second = [job for job in patient.state.jobs.values() if job.kept][:2]
    archive = next((patient.home.artifacts).rglob(f"{first.model_uri.removeprefix('models:/')}/**/model.keras"))
    archive.write_bytes(bytes(archive.stat().st_size))
    for job in (first, second):
        patient.folder.weights(job.key).unlink()
    patient.mend()
    assert [patient.folder.weights(job.key).exists() for job in (first, second)] == [False, True]


def test_what_could_not_be_read_is_not_said_to_have_been_compared(patient: Patient) -> None:
    seen = visit(patient.settings, NAME, fix=False, say=lambda _: None)
    blind = replace(seen, last=Look(patient.settings))

    def sure(**visits: Visit) -> str:
        return command._closing(patient.settings, False, visits, []).sure

    assert sure(smoke=seen) == "Ledger, files, MLflow and Optuna's storage were compared, of study smoke."
    assert sure(smoke=blind) == "Not everything could be read of smoke, so not everything was compared."
    assert "compared, of study a. Not everything could be read of b," in sure(a=seen, b=blind)
    assert sure(a=replace(seen, in_use=True)).endswith("A driver is at work on a: what runs was left out.")


def test_no_such_study_and_no_study_at_all(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    nothing = cli.run("doctor", "--home", "nowhere", "--json")
    assert (nothing.returncode, json.loads(nothing.stdout)) == (0, {"findings": []})
    wrong = cli.run("doctor", "--home", "nowhere", "--study", "mine")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "--study 'mine': no such study" in wrong.stderr
    assert not (tmp_path / "nowhere").exists()
