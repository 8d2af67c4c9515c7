"""Optuna's storage on PostgreSQL: outages, wrong addresses, several studies and several copies of one study."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fmnist_sweep.errors import FatalError, StorageError, StudyError, UsageError
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Proposal
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import TrialResult
from fmnist_sweep.views import Mirror
from fmnist_sweep.views.optuna_open import storage_at
from fmnist_sweep.views.optuna_storage import OptunaView
from tests.postgres import Postgres
from tests.stand_ins import PATIENCE_S, asked, proposals, reports_of, task, wait_for

pytestmark = pytest.mark.slow

OPEN = "import sys; from fmnist_sweep.views.optuna_open import storage_at; storage_at(sys.argv[1], 60.0)"


@pytest.fixture
def uri(postgres: Postgres) -> str:
    return postgres.create("optuna")


@pytest.fixture
def closing() -> Iterator[Callable[[Mirror], Mirror]]:
    """Closes the mirrors that a test made."""
    made: list[Mirror] = []

    def noted(mirror: Mirror) -> Mirror:
        made.append(mirror)
        return mirror

    yield noted
    for mirror in made:
        mirror.close()


class Home:
    """A home folder's ledger, to which trials are added that are trained in no time."""

    def __init__(self, folder: Path, identity: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ledger.db"
        self.ledger = Ledger(self.path)
        self.ledger.append("study", id=identity, config=task().config.model_dump(mode="json"))

    def asks(self, number: int, proposal: Proposal | None = None) -> None:
        chosen = proposal or proposals()[number]
        self.ledger.append("asked", f"trial-{number:04d}", **asked(number, chosen))
        self.ledger.append("started", f"trial-{number:04d}", 1)

    def trains(self, number: int) -> None:
        self.asks(number)
        proposal, key = proposals()[number], f"trial-{number:04d}"
        reports = reports_of(proposal.arch, proposal.train, (0.5, 1.0, 2.0, 3.0))
        for report in reports:
            self.ledger.append("report", key, report.place, **report.body)
        self.ledger.append("ended", key, state="complete", reason="", result=asdict(TrialResult.so_far(reports)))

    def mirror(self, uri: str, name: str = "mine") -> Mirror:
        return Mirror(self.ledger, lambda: OptunaView(uri, name))

    def shows(self, uri: str, name: str = "mine") -> None:
        """Shows all that happened, in a view of its own."""
        view, state = OptunaView(uri, name), StudyState()
        view.open(self.ledger.events())
        for event in self.ledger.events():
            state.apply(event)
            view.take(event, state)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "1234")


def trials(uri: str, name: str = "mine") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=uri).trials


# Outages


def test_a_server_that_restarts_is_waited_for_and_no_trial_fails(
    home: Home, uri: str, postgres: Postgres, closing: Callable[[Mirror], Mirror]
) -> None:
    home.trains(0)
    mirror = closing(home.mirror(uri))
    assert mirror.drain(PATIENCE_S)
    postgres.stop()
    try:
        home.trains(1)
        wait_for(lambda: mirror.trouble, "the outage to be noticed")
        assert not mirror.drain(0.1)
        home.trains(2)
        told = mirror.trouble
    finally:
        postgres.start()
    assert mirror.drain(PATIENCE_S)
    assert mirror.trouble == ""
    assert [trial.state for trial in trials(uri)] == [TrialState.COMPLETE] * 3
    assert [len(trial.intermediate_values) for trial in trials(uri)] == [4] * 3
    assert told.startswith("Optuna's storage: ")
    assert postgres.password not in told


def test_a_server_that_comes_up_is_waited_for(uri: str, postgres: Postgres) -> None:
    postgres.stop()
    starting = threading.Timer(2.0, postgres.start)
    starting.start()
    storage_at(uri)
    starting.join()


def test_a_server_that_does_not_come_up_is_named_without_its_password(uri: str, postgres: Postgres) -> None:
    postgres.stop()
    try:
        with pytest.raises(StorageError, match=r"team:\*\*\*@.* can't be opened: .*refused") as caught:
            storage_at(uri, patience_s=0.0)
    finally:
        postgres.start()
    assert postgres.password not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("team:", "nobody:"), "authentication failed"),
        (("optuna_", "nowhere_"), "does not exist"),
        (("127.0.0.1", "no.such.invalid"), "no.such.invalid"),
    ],
)
def test_a_wrong_address_is_refused_at_once(uri: str, postgres: Postgres, change: tuple[str, str], said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(StorageError, match=said) as caught:
        storage_at(uri.replace(*change), patience_s=PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S
    assert postgres.password not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_of_an_unknown_kind_is_wrong_usage(uri: str, postgres: Postgres) -> None:
    with pytest.raises(UsageError, match=r"postgresql.nosuch; valid: ") as caught:
        storage_at(uri.replace("+psycopg", "+nosuch"))
    assert postgres.password not in str(caught.value)


def test_the_password_may_stay_out_of_the_address(
    uri: str, postgres: Postgres, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    without = uri.replace(f":{postgres.password}", "")
    assert without != uri
    home.asks(0)
    home.shows(without)
    assert len(trials(uri)) == 1


# Several at once


def test_several_that_start_on_an_empty_database_make_its_tables_once(uri: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, uri], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        told = process.communicate()[1]
        assert process.returncode == 0, told
    assert optuna.get_all_study_names(uri) == []


def test_two_studies_of_other_names_do_not_disturb_each_other(
    home: Home, uri: str, tmp_path: Path, closing: Callable[[Mirror], Mirror]
) -> None:
    other = Home(tmp_path / "other", "5678")
    mirrors = [closing(home.mirror(uri, "mine")), closing(other.mirror(uri, "theirs"))]
    for number in range(4):
        home.trains(number)
        other.asks(number, proposals()[-1 - number])
    assert all(mirror.drain(PATIENCE_S) for mirror in mirrors)
    drawn = [proposal.drawn for proposal in proposals()]
    assert [(trial.number, trial.params) for trial in trials(uri, "mine")] == list(enumerate(drawn[:4]))
    assert [(trial.number, trial.params) for trial in trials(uri, "theirs")] == list(enumerate(drawn[:-5:-1]))
    assert {trial.state for trial in trials(uri, "mine")} == {TrialState.COMPLETE}
    assert {trial.state for trial in trials(uri, "theirs")} == {TrialState.RUNNING}


def test_of_two_studies_of_one_name_that_begin_together_one_is_refused(home: Home, uri: str, tmp_path: Path) -> None:
    other = Home(tmp_path / "other", "5678")
    storage_at(uri)
    both, refused = threading.Barrier(2), []

    def begin(one: Home) -> None:
        one.trains(0)
        both.wait()
        try:
            one.shows(uri)
        except FatalError as error:
            refused.append((one, error))

    threads = [threading.Thread(target=begin, args=(one,)) for one in (home, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert "another study named 'mine'; choose another --study" in str(refused[0][1])
    winner = other if refused[0][0] is home else home
    (event,) = [event for event in winner.ledger.events() if event.kind == "study"]
    found = optuna.load_study(study_name="mine", storage=uri)
    assert found.user_attrs["fmnist_sweep:id"] == event.body["id"]
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE]


# Copies of a home folder


def copied(home: Home, folder: Path) -> Home:
    folder.mkdir()
    with sqlite3.connect(home.path) as source, sqlite3.connect(folder / home.path.name) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    return Home(folder, "not used, as the ledger has one")


def test_a_copied_home_goes_on_and_the_old_one_is_refused(home: Home, uri: str, tmp_path: Path) -> None:
    home.trains(0)
    home.asks(1)
    home.shows(uri)
    home.ledger.close()
    there = copied(home, tmp_path / "there")
    there.trains(1)
    there.trains(2)
    there.shows(uri)
    assert [trial.state for trial in trials(uri)] == [TrialState.COMPLETE] * 3
    here = Home(home.path.parent, "not used")
    with pytest.raises(StudyError, match=r"another copy of this home folder: trial 2 there is not this ledger's"):
        here.shows(uri)
    assert [trial.state for trial in trials(uri)] == [TrialState.COMPLETE] * 3


def test_two_copies_that_run_at_once_are_told_apart(
    home: Home, uri: str, tmp_path: Path, closing: Callable[[Mirror], Mirror]
) -> None:
    """The newest driver has the study; the older one stops, and has changed nothing since."""
    home.trains(0)
    mirror = closing(home.mirror(uri))
    assert mirror.drain(PATIENCE_S)
    there = copied(home, tmp_path / "there")
    there.shows(uri)
    home.asks(1)
    with pytest.raises(StudyError, match="was taken over by another driver, on "):
        mirror.drain(PATIENCE_S)
    assert mirror.fatal is not None
    assert len(trials(uri)) == 1


def test_another_trial_under_the_same_number_is_refused(home: Home, uri: str, tmp_path: Path) -> None:
    there = Home(tmp_path / "there", "1234")
    there.asks(0, proposals()[5])
    there.shows(uri)
    home.trains(0)
    with pytest.raises(StudyError, match="trial 0 there is not this ledger's"):
        home.shows(uri)
    assert trials(uri)[0].state == TrialState.RUNNING
