"""Which models are logged while others still train, and what is left for the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.delivery import Delivery, sure
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.publish import Crowned
from fmnist_sweep.state import StudyState
from tests import stand_ins
from tests.driver_place import nets
from tests.final_stand_ins import end


class _Standby:
    """Does what it is asked for when the test lets it."""

    def __init__(self) -> None:
        self.begun, self.called = False, list[list[str]]()
        self._later: tuple[list[str], Callable[[Any], object]] | None = None

    def begin(self) -> None:
        self.begun = True

    def later(self, _: object, __: str, items: list[Any], ___: Path, *, then: Callable[[Any], object]) -> bool:
        if self._later is None:
            self._later = [item.key for item in items], then
            return True
        return False

    def look(self, wait_s: float = 0.0) -> None:
        if wait_s and self._later is not None:
            self.answer()

    def answer(self, *, good: bool = True) -> None:
        assert self._later is not None
        (keys, then), self._later = self._later, None
        if good:
            then({key: f"models:/{key}" for key in keys})

    @property
    def busy_with(self) -> list[str]:
        return self._later[0] if self._later else []

    def call(self, _: object, __: str, items: list[Any], ___: Path) -> dict[str, str]:
        self.called.append([item.key for item in items])
        return {item.key: f"models:/{item.key}" for item in items}


class _Mirror:
    trouble = "the view: away"

    def __init__(self) -> None:
        self.behind = False

    def drain(self, _: float) -> bool:
        return not self.behind


class _Study:
    """A ledger with three complete trials, the later ones better, and what delivers them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = Ledger(folder / "ledger.db")
        self.ledger.append("study", name="study", seed=0, id="mine", data_set={"name": "digits", "fingerprint": "f"})
        for number in range(3):
            self.ask(number)
            self.keep(f"trial-{number:04d}", 0.8 + 0.01 * number)
        self.ledger.append("dropped", "trial-0000")
        self.standby, self.mirror = _Standby(), _Mirror()
        self.crowned: list[str] = []
        monkeypatch.setattr("fmnist_sweep.publish.crown", self._crown)
        self.delivery = Delivery(
            "http://team",
            self.ledger,
            StudyFolder(folder),
            stand_ins.prepared(folder / "data"),
            2,
            [self.mirror],  # type: ignore[list-item]
            self.standby,  # type: ignore[arg-type]
        )

    def _crown(self, _: str, item: Any, model_uri: str, __: object) -> Crowned:
        assert model_uri == f"models:/{item.key}"
        self.crowned.append(item.key)
        return Crowned("1", "crowned")

    def ask(self, number: int) -> None:
        proposal = stand_ins.proposals()[number]
        self.ledger.append("asked", f"trial-{number:04d}", 0, **stand_ins.asked(number, proposal))
        self.ledger.append("started", f"trial-{number:04d}", 1)

    def keep(self, key: str, accuracy: float) -> None:
        self.ledger.append("run", key, run_id=f"run-of-{key}")
        end(self.ledger, key, accuracy)
        self.ledger.append("kept", key)

    def ahead(self, target: int = 3) -> list[str]:
        """What is being logged after another look."""
        self.delivery.ahead(self.state, target)
        return self.standby.busy_with

    @property
    def state(self) -> StudyState:
        return StudyState.of(self.ledger.events())

    @property
    def logged(self) -> list[str]:
        return [job.key for job in self.state.jobs.values() if job.model_uri]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Study]:
    made = _Study(tmp_path, monkeypatch)
    yield made
    made.ledger.close()


def test_a_model_is_sure_to_stay_if_those_under_way_can_not_displace_it(study: _Study) -> None:
    assert {job.key for job in sure(study.state, 2)} == {"trial-0001", "trial-0002"}
    study.ask(3)
    assert [job.key for job in sure(study.state, 2)] == ["trial-0002"]
    assert not sure(study.state, 1)
    study.ledger.append("held", "trial-0003", 1)
    assert {job.key for job in sure(study.state, 2)} == {"trial-0001", "trial-0002"}


def test_the_labs_nets_are_sure_once_they_are_trained(study: _Study) -> None:
    study.ask(3)
    (net,) = nets("lab-cnn1")
    body = stand_ins.asked(-1, stand_ins.proposals()[0]) | {"kind": "lab", "arch": net.arch.to_dict()}
    study.ledger.append("asked", "lab-cnn1", 0, **body)
    assert [job.key for job in sure(study.state, 1)] == []
    study.keep("lab-cnn1", 0.5)
    assert [job.key for job in sure(study.state, 1)] == ["lab-cnn1"]


def test_while_trials_are_to_come_no_model_is_logged(study: _Study) -> None:
    assert study.ahead(target=4) == []
    assert study.standby.begun


def test_models_are_logged_one_after_the_other_while_the_last_net_trains(study: _Study) -> None:
    study.ask(3)
    assert study.ahead() == ["trial-0002"]
    assert study.ahead() == ["trial-0002"]
    study.standby.answer()
    assert study.logged == ["trial-0002"]
    assert study.ahead() == []
    study.keep("trial-0003", 0.9)
    study.ledger.append("dropped", "trial-0001")
    assert study.delivery.rest(lambda _: None) == ("", Crowned("1", "crowned"))
    assert study.standby.called == [["trial-0003"]]
    assert study.logged == ["trial-0002", "trial-0003"]
    assert study.crowned == ["trial-0003"]


def test_no_model_is_logged_to_a_run_that_is_not_told_to_its_end(study: _Study) -> None:
    study.mirror.behind = True
    assert study.ahead() == []
    study.mirror.behind = False
    assert study.ahead() == ["trial-0001"]


def test_what_fails_is_tried_again_in_the_end_alone(study: _Study) -> None:
    assert study.ahead() == ["trial-0001"]
    study.standby.answer(good=False)
    assert study.ahead() == ["trial-0002"]
    said: list[str] = []
    study.delivery.rest(said.append)
    assert said == ["logging 1 model"]
    assert study.standby.called == [["trial-0001"]]
    assert study.logged == ["trial-0001", "trial-0002"]


def test_the_end_tells_which_view_is_behind_and_logs_nothing(study: _Study) -> None:
    study.mirror.behind = True
    assert study.delivery.rest(lambda _: None) == ("the view: away", None)
    assert study.logged == []
