"""Studies whose ledger is damaged, that were put aside by another process, or whose storage is elsewhere."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from fmnist_sweep import home as homes
from fmnist_sweep import study
from fmnist_sweep.aside import move_aside
from fmnist_sweep.commands import preview
from fmnist_sweep.data import DataSource
from fmnist_sweep.doctor import files
from fmnist_sweep.errors import DamagedLedgerError, StorageError, StudyError, UsageError
from fmnist_sweep.home import Home, StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.options import settings_of
from fmnist_sweep.schema import FidelitySection
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.mlflow_client import connect
from tests.conftest import Cli, Study
from tests.doctor_patient import NAME, Patient, copied

SLOW = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def patient(finished: Study, source: DataSource, tmp_path: Path) -> Iterator[Patient]:
    with copied(finished.home, source.folder, tmp_path / "home") as made:
        yield made


def last_pages(content: bytes) -> bytes:
    return content[: len(content) // 2 // 4096 * 4096] + os.urandom(len(content) - len(content) // 2 // 4096 * 4096)


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def rubbish(content: bytes) -> bytes:
    return os.urandom(len(content))


def nothing(_: bytes) -> bytes:
    return b""


def one_figure(content: bytes) -> bytes:
    """The last figure of an accuracy is altered, in a report after the first half of the events."""
    place = content.index(b'"val_accuracy": 0.', len(content) // 2) + len('"val_accuracy": 0.') + 2
    return content[:place] + (b"1" if content[place : place + 1] != b"1" else b"2") + content[place + 1 :]


def harmed(patient: Patient, harm: Callable[[bytes], bytes]) -> bytes:
    content = harm(patient.folder.ledger.read_bytes())
    patient.folder.ledger.write_bytes(content)
    return content


class TestDamagedLedger:
    pytestmark = SLOW

    @pytest.mark.parametrize("harm", [last_pages, cut_off, rubbish, nothing, one_figure])
    def test_fresh_puts_it_aside_everywhere_as_the_error_advises(
        self, patient: Patient, harm: Callable[[bytes], bytes]
    ) -> None:
        settings, experiment = replace(patient.settings, study=NAME, sweep="smoke"), patient.experiment
        content = harmed(patient, harm)
        with pytest.raises(DamagedLedgerError, match="or start anew with --fresh, which keeps this one") as caught:
            study.plan(settings)
        assert "\n" not in str(caught.value)
        assert [checked.finding.kind for checked in patient.look().checked] == ["ledger"]
        assert study.plan(settings, fresh=True).name == NAME
        aside = move_aside(settings, NAME)
        assert aside.startswith(f"{NAME}-")
        assert not content or patient.home.study(aside).ledger.read_bytes() == content
        assert not patient.folder.path.exists()
        assert patient.client.get_experiment(experiment).name == aside
        assert optuna.get_all_study_names(settings.optuna) == [aside]

    def test_what_is_readable_says_what_the_new_study_is_to_be(self, patient: Patient, finished: Study) -> None:
        settings = replace(patient.settings, study=NAME)
        whole = study.plan(settings)
        harmed(patient, one_figure)
        assert study.plan(settings, fresh=True) == whole
        assert whole.config.data.train_images == finished.result["train_images"] == 2000

    def test_where_nothing_is_readable_the_sweep_must_be_named(self, patient: Patient) -> None:
        harmed(patient, rubbish)
        with pytest.raises(UsageError, match=f"nothing can be read of study {NAME!r}; say with --sweep"):
            study.plan(replace(patient.settings, study=NAME), fresh=True)

    @pytest.mark.parametrize("option", ["tracking_uri", "storage"])
    def test_where_nothing_is_readable_nobody_elses_study_is_renamed(self, patient: Patient, option: str) -> None:
        settings = replace(patient.settings, study=NAME)  # and now as if it were in a shared place
        if option == "storage":
            settings = replace(settings, storage=settings.optuna)
        else:
            settings = replace(settings, tracking_uri=settings.mlflow)
        harmed(patient, rubbish)
        with pytest.raises(StudyError, match=f"whether {NAME!r} at sqlite:.* is this study can't be told"):
            move_aside(settings, NAME)
        assert patient.folder.ledger.exists()
        assert optuna.get_all_study_names(patient.settings.optuna) == [NAME]

    def test_the_whole_command_starts_anew(self, patient: Patient, source: DataSource) -> None:
        harmed(patient, last_pages)
        cli = Cli(patient.home.path.parent, source.folder)
        words = ("run", "--study", NAME, "--home", "home", "--trials", "1", "--no-lab", "--epochs", "1")
        refused = cli.run(*words)
        assert refused.returncode == 1
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert "ledger home/studies/smoke/ledger.db is damaged" in line
        assert "Traceback" not in refused.stderr
        anew = cli.json(*words, "--sweep", "smoke", "--train-images", "500", "--fresh")
        assert anew["trials"]["complete"] == 1
        assert len(patient.home.studies()) == 2
        assert patient.state.study["train_images"] == 500


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["deleted", "another server", "an empty server"])
def test_a_study_is_put_aside_whatever_became_of_its_experiment(patient: Patient, where: str, tmp_path: Path) -> None:
    settings, experiment = patient.settings, patient.experiment
    if where == "deleted":
        patient.client.delete_experiment(experiment)
    else:
        settings = replace(settings, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
        if where == "another server":
            assert connect(settings.mlflow).create_experiment("a colleague's") == experiment
    aside = move_aside(settings, NAME)
    assert patient.home.studies() == [aside]
    assert study.read(settings, aside).study["name"] == aside
    assert patient.client.get_experiment(experiment).name == (aside if where == "deleted" else NAME)
    if where == "another server":
        assert connect(settings.mlflow).get_experiment(experiment).name == "a colleague's"


# Names, and what is only just beginning


def begun(home: Path, name: str) -> Settings:
    """A study with a ledger and nothing else."""
    folder = Home(home).study(name)
    folder.path.mkdir(parents=True)
    with closing(Ledger(folder.ledger)) as ledger:
        ledger.append("study", name=name, id="0123456789abcdef")
    return replace(settings_of(home), home=Home(home))


def test_a_study_with_a_long_name_is_put_aside_under_a_shorter_one(tmp_path: Path) -> None:
    name = "n" * 75
    settings = begun(tmp_path, name)
    aside = move_aside(settings, name)
    assert aside.startswith("n" * 64 + "-2")
    assert settings.home.studies() == [aside]


def test_hyperband_in_a_file_is_hyperband_when_it_begins_and_when_it_goes_on(tmp_path: Path) -> None:
    """Its own rounds say who goes on; a study that an older release began with another pruner keeps that."""
    file = tmp_path / "h.toml"
    file.write_text('title = "h"\nstudy = { engine = "keras-tuner-hyperband" }\nspace = { depth = 1, epochs = 9 }\n')
    settings = replace(settings_of(tmp_path), home=Home(tmp_path), sweep=str(file))
    planned = study.plan(settings)
    assert planned.config.fidelity.pruner == "none"
    (tmp_path / "older").mkdir()
    as_it_was = planned.config.model_copy(update={"fidelity": FidelitySection()})
    for home, config in ((tmp_path, planned.config), (tmp_path / "older", as_it_was)):
        folder = Home(home).study(planned.name)
        folder.path.mkdir(parents=True)
        with closing(Ledger(folder.ledger)) as ledger:
            ledger.append("study", name=planned.name, sweep="h", config=config.model_dump(mode="json"), seed=0)
        assert study.plan(replace(settings, home=Home(home))).config == config


def test_a_study_goes_on_as_it_was_begun_where_its_sweep_is_not_named(tmp_path: Path) -> None:
    """A newer release may have changed what ``default`` is."""
    settings = replace(settings_of(tmp_path), home=Home(tmp_path))
    now = study.plan(settings)
    fidelity = now.config.fidelity.model_copy(update={"price": 1.25})
    before = replace(now, config=now.config.model_copy(update={"fidelity": fidelity}))
    folder = Home(tmp_path).study("default")
    folder.path.mkdir(parents=True)
    with closing(Ledger(folder.ledger)) as ledger:
        config = before.config.model_dump(mode="json")
        ledger.append("study", name="default", sweep="default", config=config, seed=0)
    assert study.plan(settings) == before
    assert study.plan(replace(settings, study="default")) == before
    assert study.plan(replace(settings, sweep="default")) == now  # which is then told to be another
    assert study.plan(settings, fresh=True) == now
    assert study.plan(replace(settings, study="other")) == replace(now, name="other")


def test_what_may_change_is_as_the_last_run_that_named_the_sweep_had_it(tmp_path: Path) -> None:
    """So that no other command removes models that were to be kept, or looks for images where they were."""
    settings, file = replace(settings_of(tmp_path), home=Home(tmp_path)), tmp_path / "mine.toml"
    text = 'title = "one"\n[study]\ntrials = 4\nkeep_models = {}\n[space]\ndepth = 1\n[data]\ntrain = "{}"\n'
    file.write_text(text.format(2, "here.npz"))
    first = study.plan(replace(settings, sweep=str(file)))
    file.write_text(text.format(9, "there.npz").replace("one", "two"))
    then = study.plan(replace(settings, sweep=str(file)))
    folder = Home(tmp_path).study("mine")
    folder.path.mkdir(parents=True)
    with closing(Ledger(folder.ledger)) as ledger:
        config = first.config.model_dump(mode="json")
        ledger.append("study", name="mine", sweep=first.sweep, config=config, seed=0)
        ledger.append("session", "", 1, target=4, free=study.free(first.config))
        assert study.plan(replace(settings, study="mine")).config == first.config
        ledger.append("session", "", 2, target=4, free=json.loads(json.dumps(study.free(then.config))))
        state = StudyState.of(ledger.events())
    found = study.plan(replace(settings, study="mine")).config
    assert found == then.config
    assert (found.title, found.study.keep_models, found.data.train) == ("two", 9, then.config.data.train)
    assert files._keep_models(state) == 9
    assert state.study["config"]["data"]["train"] == then.config.data.train
    assert files._keep_models(StudyState(study={"config": config})) == 2


def test_another_sweeps_study_of_that_name_keeps_it(tmp_path: Path) -> None:
    settings = replace(settings_of(tmp_path), home=Home(tmp_path))
    smoke = study.plan(replace(settings, sweep="smoke", study="default"))
    folder = Home(tmp_path).study("default")
    folder.path.mkdir(parents=True)
    with closing(Ledger(folder.ledger)) as ledger:
        ledger.append("study", name="default", sweep="smoke", config=smoke.config.model_dump(mode="json"), seed=0)
    assert study.plan(settings) == smoke
    assert (smoke.name, smoke.sweep) == ("default", "smoke")


def test_fresh_is_the_sweep_as_it_is_or_the_study_as_it_was(tmp_path: Path) -> None:
    settings = replace(settings_of(tmp_path), home=Home(tmp_path))
    asked = replace(settings, sweep="smoke", epochs=1, train_images=500, seed=7, patience=3)
    first = study.plan(asked)
    folder = Home(tmp_path).study("smoke")
    folder.path.mkdir(parents=True)
    with closing(Ledger(folder.ledger)) as ledger:
        options = {"epochs": 1, "train_images": 500, "engine": None}
        config = first.config.model_dump(mode="json")
        ledger.append("study", name="smoke", sweep="smoke", config=config, options=options, seed=7)
        ledger.append("session", patience=3)
    named = replace(settings, sweep="smoke")
    assert study.plan(named) == first
    assert study.plan(named, fresh=True) == study.plan(replace(named, home=Home(tmp_path / "empty")))
    assert study.plan(replace(settings, study="smoke"), fresh=True) == first


def test_a_study_that_only_just_begins_keeps_no_other_from_beginning(tmp_path: Path) -> None:
    folder = Home(tmp_path).study("mine")
    folder.path.mkdir(parents=True)
    Ledger(folder.ledger).close()
    assert preview.pace_of(replace(settings_of(tmp_path), home=Home(tmp_path))).trials == 0


def test_a_study_that_is_only_just_beginning_is_called_so(tmp_path: Path) -> None:
    folder = Home(tmp_path).study("mine")
    folder.path.mkdir(parents=True)
    Ledger(folder.ledger).close()
    with pytest.raises(StudyError, match="study 'mine' is only just beginning"):
        study.read(replace(settings_of(tmp_path), home=Home(tmp_path)), "mine")


# Put aside while another process waited for it


def test_a_driver_that_waited_while_the_study_was_put_aside_does_not_get_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Home(tmp_path).study("mine")
    folder.path.mkdir(parents=True)
    told: list[str] = []
    opened, aside, lock = threading.Event(), threading.Event(), homes._lock

    def held_up(file: int) -> None:
        if threading.current_thread() is other:
            opened.set()
            assert aside.wait(60)
        lock(file)

    def wait_for_it() -> None:
        try:
            with folder.locked():
                told.append("held")
        except StudyError as error:
            told.append(str(error))

    monkeypatch.setattr(homes, "_lock", held_up)
    other = threading.Thread(target=wait_for_it)
    with folder.locked():
        other.start()
        assert opened.wait(60)
        folder.path.rename(tmp_path / "studies" / "old")
        folder.path.mkdir()
    aside.set()
    other.join()
    assert told == ["study 'mine' was put aside by another process just now; the same command starts anew"]
    with folder.locked(), pytest.raises(StudyError, match="is being run"), StudyFolder(folder.path).locked():
        pytest.fail("two drivers hold one study")


# Optuna's storage


@pytest.mark.parametrize(
    ("storage", "kept"),
    [
        ("", ""),
        ("sqlite:///{home}/optuna.db", ""),
        ("sqlite:////else/where.db", "sqlite:////else/where.db"),
        ("sqlite:////else/where.db?password=s3cret&timeout=3", "sqlite:////else/where.db?password=***&timeout=3"),
        ("postgresql://anna:s3cret@host/db", "postgresql://anna:***@host/db"),
        ("postgresql://anna@host/db", "postgresql://anna@host/db"),
    ],
)
def test_the_ledger_keeps_where_the_storage_is_and_no_password(tmp_path: Path, storage: str, kept: str) -> None:
    settings = Settings(Home(tmp_path), storage=storage.format(home=tmp_path))
    assert study.storage_address(settings) == kept
    bare = Settings(Home(tmp_path))
    if "***" in kept:
        with pytest.raises(StorageError, match="name it again, as no password is kept"):
            study.at_its_storage(bare, kept)
        assert study.at_its_storage(settings, kept) == settings
    else:
        assert study.at_its_storage(bare, kept).storage == kept
    assert study.at_its_storage(bare, None) == bare


class TestStorageElsewhere:
    pytestmark = SLOW

    def moved(self, patient: Patient, recorded: str = "") -> str:
        """Puts Optuna's storage elsewhere, as if the study had been run with it."""
        path = patient.home.path.parent / "elsewhere.db"
        (patient.home.path / "optuna.db").rename(path)
        uri = f"sqlite:///{path}"
        with closing(Ledger(patient.folder.ledger)) as ledger:
            ledger.append("session", "", 99, target=4, storage=recorded or uri)
        return uri

    def test_the_doctor_finds_it_by_itself_and_mends_it(self, patient: Patient) -> None:
        uri = self.moved(patient)
        assert patient.look().checked == ()
        optuna.load_study(study_name=NAME, storage=uri).set_user_attr("any", 1)
        patient.settings = replace(patient.settings, storage=uri)
        patient.rewrite_trials(lambda trials: trials[:-1])
        patient.settings = replace(patient.settings, storage="")
        assert [checked.finding.kind for checked in patient.look().checked] == ["missing"]
        assert all(checked.fixed for checked in patient.mend().checked)
        assert len(optuna.load_study(study_name=NAME, storage=uri).trials) == len(patient.state.trials())
        assert not (patient.home.path / "optuna.db").exists()

    def test_another_storage_is_not_filled_by_mistake(self, patient: Patient) -> None:
        uri = self.moved(patient)
        other = patient.home.path.parent / "other.db"
        patient.settings = replace(patient.settings, storage=f"sqlite:///{other}")
        for visited in (patient.look(), patient.mend()):
            (checked,) = visited.checked
            assert (checked.finding.kind, checked.fixed) == ("unreachable", False)
            assert checked.finding.advice == f"it was shown elsewhere: --storage {uri}"
        assert not other.exists()

    def test_one_with_a_password_has_to_be_named_again(self, patient: Patient) -> None:
        self.moved(patient, "postgresql://anna:***@host/db")
        (checked,) = patient.look().checked
        assert checked.finding.kind == "unreachable"
        assert "--storage postgresql://anna:***@host/db" in checked.finding.what


def test_the_last_run_says_where_the_storage_is(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.append("session", "", 0, target=1)
        assert StudyState.of(ledger.events()).storage is None  # a run of an older release
        ledger.append("session", "", 1, target=1, storage="sqlite:////x.db")
        ledger.append("session", "", 2, target=1, storage="")
        assert StudyState.of(ledger.events()).storage == ""


class TestStorageThatDoesNotOpen:
    pytestmark = SLOW

    def test_it_does_not_become_the_studys(self, patient: Patient, source: DataSource) -> None:
        cli = Cli(patient.home.path.parent, source.folder)
        words = ("run", "--sweep", "smoke", "--train-images", "2000", "--home", patient.home.path.name)
        done = cli.run(*words, "--storage", "/no/scheme.db")
        assert done.returncode == 2
        assert "error: --storage /no/scheme.db" in done.stderr
        assert patient.state.storage == ""
        assert cli.run(*words).returncode == 0
