"""The study as Optuna's own API shows it: what the ledger says, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from fmnist_sweep import session
from fmnist_sweep.errors import StorageError, UsageError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Proposal
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialResult
from fmnist_sweep.views.optuna_storage import OptunaView, move_aside
from tests.stand_ins import asked, proposals, reports_of, task

ENDINGS = {0: ("complete", 4), 1: ("pruned", 1), 2: ("failed", 2)}  # trial -> state and reports; trial 3 still runs


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Four trials, one in each state, and a net of the lab."""
    opened = Ledger(tmp_path / "ledger.db")
    opened.append("study", id="1234", config=task().config.model_dump(mode="json"))
    for number, proposal in enumerate(proposals()[:4]):
        key = f"trial-{number:04d}"
        opened.append("asked", key, **asked(number, proposal))
        opened.append("started", key, 1)
        state, passed = ENDINGS.get(number, ("running", 1))
        for report in curve(proposal)[:passed]:
            opened.append("report", key, report.place, **report.body)
        if number in ENDINGS:
            result = None if state == "failed" else asdict(TrialResult.so_far(curve(proposal)[:passed]))
            opened.append("ended", key, state=state, reason=f"why {state}", result=result)
    opened.append("asked", "lab-cnn3", **{**asked(-1, proposals()[0]), "kind": "lab"})
    yield opened
    opened.close()


def curve(proposal: Proposal) -> list[Report]:
    return reports_of(proposal.arch, proposal.train, (0.5, 1.0, 2.0, 3.0))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'optuna.db'}"
    return str(request.getfixturevalue("postgres").create("optuna"))


def feed(ledger: Ledger, uri: str) -> list[FrozenTrial]:
    """Shows the whole ledger in a fresh view, and reads it back with Optuna."""
    view = OptunaView(uri, "mine")
    view.open(ledger.events())
    state = StudyState()
    for event in ledger.events():
        state.apply(event)
        view.take(event, state)
    return optuna.load_study(study_name="mine", storage=uri).trials


def test_the_trials_are_the_ledgers(ledger: Ledger, uri: str) -> None:
    trials = feed(ledger, uri)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.params for trial in trials] == [proposal.drawn for proposal in proposals()[:4]]
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    curves = [[report.val_accuracy for report in curve(proposal)] for proposal in proposals()[:4]]
    for number, (_, passed) in ENDINGS.items():
        assert trials[number].intermediate_values == dict(enumerate(curves[number][:passed]))
    assert trials[0].value == curves[0][-1]
    assert trials[2].value is None
    assert trials[3].value is None
    assert [trial.user_attrs["fmnist_sweep:trial"] for trial in trials] == [f"trial-{n:04d}" for n in range(4)]
    assert [trial.user_attrs["fingerprint"] for trial in trials] == [it.fingerprint for it in proposals()[:4]]
    assert trials[1].user_attrs["reason"] == "why pruned"
    assert optuna.load_study(study_name="mine", storage=uri).best_trial.number == 0


def test_everything_told_twice_changes_nothing(ledger: Ledger, uri: str) -> None:
    assert feed(ledger, uri) == feed(ledger, uri)


def test_a_storage_that_was_lost_is_told_all_of_it_again(ledger: Ledger, uri: str) -> None:
    before = feed(ledger, uri)
    optuna.delete_study(study_name="mine", storage=uri)
    OptunaView(uri, "mine").open(ledger.events())
    after = optuna.load_study(study_name="mine", storage=uri).trials
    assert [(it.number, it.params, it.state, it.value) for it in after] == [
        (it.number, it.params, it.state, it.value) for it in before
    ]


def test_a_trial_that_ends_in_a_later_run(ledger: Ledger, uri: str) -> None:
    feed(ledger, uri)
    last = proposals()[3]
    for report in curve(last)[1:]:
        ledger.append("report", "trial-0003", report.place, **report.body)
    ledger.append("ended", "trial-0003", state="complete", result=asdict(TrialResult.so_far(curve(last))))
    found = feed(ledger, uri)[3]
    assert (found.state, found.value) == (TrialState.COMPLETE, curve(last)[-1].val_accuracy)
    assert list(found.intermediate_values) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["held", "paused"])
def test_a_trial_that_nothing_trains_waits(ledger: Ledger, uri: str, kind: str) -> None:
    ledger.append(kind, "trial-0003", 1)
    assert feed(ledger, uri)[3].state == TrialState.WAITING
    ledger.append("started", "trial-0003", 2)
    assert feed(ledger, uri)[3].state == TrialState.RUNNING
    ledger.append("paused", "trial-0003", 2)
    ledger.append("ended", "trial-0003", state="pruned", result=asdict(TrialResult.so_far(curve(proposals()[3])[:1])))
    assert feed(ledger, uri)[3].state == TrialState.PRUNED


def test_a_trial_that_was_asked_for_waits_too(ledger: Ledger, uri: str) -> None:
    ledger.append("asked", "trial-0004", **asked(4, proposals()[4]))
    assert feed(ledger, uri)[4].state == TrialState.WAITING


@pytest.mark.parametrize("whose", ["of another ledger", "of somebody else"])
def test_another_study_of_that_name_is_left_alone(ledger: Ledger, uri: str, tmp_path: Path, whose: str) -> None:
    if whose == "of another ledger":
        other = Ledger(tmp_path / "other.db")
        other.append("study", id="5678", config={})
        OptunaView(uri, "mine").open(other.events())
        other.close()
    else:
        optuna.create_study(storage=uri, study_name="mine", direction="maximize").ask()
    with pytest.raises(StorageError, match="holds another study named 'mine'"):
        OptunaView(uri, "mine").open(ledger.events())


def test_a_study_is_moved_aside(ledger: Ledger, uri: str) -> None:
    before = feed(ledger, uri)
    move_aside(uri, "mine", "old")
    assert optuna.get_all_study_names(uri) == ["old"]
    assert [trial.params for trial in optuna.load_study(study_name="old", storage=uri).trials] == [
        trial.params for trial in before
    ]
    move_aside(uri, "mine", "old")


def test_a_study_of_somebody_else_is_not_moved(ledger: Ledger, uri: str) -> None:
    feed(ledger, uri)
    identity = next(event.body["id"] for event in ledger.events() if event.kind == "study")
    move_aside(uri, "mine", "old", owner="somebody-elses")
    assert optuna.get_all_study_names(uri) == ["mine"]
    move_aside(uri, "mine", "old", owner=identity)
    assert optuna.get_all_study_names(uri) == ["old"]


# Passwords


@pytest.mark.parametrize("uri", ["nosuch://me:canary@host/db", "mysql+nosuch://me:canary@host/db", "//me:canary@host"])
def test_a_storage_that_can_not_be_used_is_named_without_its_password(ledger: Ledger, uri: str) -> None:
    with pytest.raises(UsageError, match=r"--storage.*valid: sqlite:///FILE, postgresql://") as caught:
        OptunaView(uri, "mine").open(ledger.events())
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--storage") as caught:
        move_aside(uri, "mine", "old")
    assert "canary" not in str(caught.value)


def test_a_view_must_be_opened_first(ledger: Ledger, uri: str) -> None:
    view, state = OptunaView(uri, "mine"), StudyState.of(ledger.events())
    asking = next(event for event in ledger.events() if event.kind == "asked")
    with pytest.raises(StorageError, match="not open"):
        view.take(asking, state)


def test_a_study_that_goes_on_with_another_storage_shows_all_of_itself_there(ledger: Ledger, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    ledger.append("session", "", 1, storage="")
    ledger.advance(OptunaView.name, ledger.last())
    session._with_storage(Settings(home), ledger)
    assert ledger.cursor(OptunaView.name) == ledger.last()
    other = Settings(home, storage=f"sqlite:///{home.path / 'other.db'}")  # in the home folder, and not its own
    session._with_storage(other, ledger)
    assert ledger.cursor(OptunaView.name) == 0
