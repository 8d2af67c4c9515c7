"""A worker that is ready when it is called, or not: the answer is the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmnist_sweep.executors.standby import Standby
from tests import stand_ins

pytestmark = pytest.mark.slow  # its workers come from the server that loads TensorFlow

_seen: list[str] = []


def prepare() -> None:
    _seen.append("prepared")


def failing() -> None:
    raise ValueError("not today")


def answer(word: str) -> tuple[str, list[str], int]:
    if word == "error":
        raise ValueError("no such word")
    return word, list(_seen), os.getpid()


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    made = Standby(prepare, tmp_path / "log")
    yield made
    made.close()


def test_without_being_ready_a_fresh_worker_answers(standby: Standby) -> None:
    word, seen, pid = standby.call(answer, "here")
    assert (word, seen) == ("here", [])
    assert pid != os.getpid()


def test_a_ready_worker_answers_call_after_call(standby: Standby) -> None:
    standby.begin()
    standby.begin()
    first, second = standby.call(answer, "one"), standby.call(answer, "two")
    assert (first[:2], second[:2]) == (("one", ["prepared"]), ("two", ["prepared"]))
    assert first[2] == second[2]
    with pytest.raises(RuntimeError, match="ValueError: no such word"):
        standby.call(answer, "error")
    standby.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first[2], 0)


def test_where_the_ready_worker_has_died_a_fresh_one_answers(standby: Standby) -> None:
    standby.begin()
    os.kill(standby.call(answer, "one")[2], signal.SIGKILL)
    assert standby.call(answer, "two")[:2] == ("two", [])


def test_a_call_for_later_is_answered_while_others_train(standby: Standby) -> None:
    found: list[tuple[str, list[str], int]] = []
    assert not standby.later(answer, "too early", then=found.append)
    standby.begin()
    assert standby.later(answer, "one", then=found.append)
    assert not standby.later(answer, "busy", then=found.append)
    standby.look(stand_ins.PATIENCE_S)
    standby.look(stand_ins.PATIENCE_S)
    assert [it[:2] for it in found] == [("one", ["prepared"])]
    assert standby.later(answer, "two", then=found.append)
    assert standby.call(answer, "three")[:2] == ("three", ["prepared"])
    assert [it[0] for it in found] == ["one", "two"]


def test_of_a_call_for_later_that_fails_nobody_is_told(standby: Standby) -> None:
    found: list[object] = []
    standby.begin()
    assert standby.later(answer, "error", then=found.append)
    standby.look(stand_ins.PATIENCE_S)
    assert standby.later(os._exit, 1, then=found.append)
    standby.look(stand_ins.PATIENCE_S)
    assert not standby.later(answer, "dead", then=found.append)
    standby.begin()
    assert standby.later(answer, "another", then=lambda it: found.append(it[0]))
    standby.look(stand_ins.PATIENCE_S)
    assert found == ["another"]
    found.clear()
    standby.close()
    assert standby.call(answer, "here")[:2] == ("here", [])
    assert not found


def test_a_call_for_later_that_hangs_is_not_waited_for_in_the_end(standby: Standby) -> None:
    found: list[object] = []
    standby.begin()
    assert standby.later(time.sleep, 3_600, then=found.append)
    standby.look(0.2)
    assert standby.call(answer, "here")[:2] == ("here", [])
    assert not found


def test_workers_that_die_time_and_again_are_not_replaced_for_ever(tmp_path: Path) -> None:
    standby = Standby(failing, tmp_path / "log")
    for _ in range(6):
        standby.begin()
        standby.later(answer, "never", then=lambda _: None)
        standby.look(stand_ins.PATIENCE_S)
    assert (tmp_path / "log").read_text().count("ValueError: not today") == 3


def test_where_getting_ready_fails_a_fresh_worker_answers(tmp_path: Path) -> None:
    standby = Standby(failing, tmp_path / "log")
    standby.begin()
    assert standby.call(answer, "here")[0] == "here"
    standby.close()
    assert "not today" in (tmp_path / "log").read_text()
