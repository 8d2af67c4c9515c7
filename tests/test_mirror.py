"""The mirror: every event reaches the view, in order, once, through outages and restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from fmnist_sweep.errors import FatalError, LedgerError, TrackingError
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import Mirror, View
from fmnist_sweep.views.mirror import AwayError
from fmnist_sweep.views.mlflow_client import may_come_back
from tests.stand_ins import PATIENCE_S, wait_for


class Board:
    """A view that notes what it is shown, and is away for as many tries as it is told."""

    name = "the board"
    shows = frozenset({"fact"})

    def __init__(self, away: int = 0, opening: Exception | None = None, closed: int = 0) -> None:
        self.away = away
        self.opening = opening
        self.closed = closed
        self.tries = 0
        self.past: list[Event] = []
        self.shown: list[Event] = []
        self.before_each: Callable[[], object] = lambda: None

    def open(self, past: list[Event]) -> None:
        self.past = past
        if self.opening is not None:
            raise self.opening
        if self.closed > 0:
            self.closed -= 1
            raise AwayError("nobody is there\nand a long story")

    def take(self, event: Event, state: StudyState) -> None:
        assert state.seq == event.seq
        self.tries += 1
        self.before_each()
        if self.away > 0:
            self.away -= 1
            raise ConnectionError(f"no answer to {event.kind} {event.place}\nand a long story")
        self.shown.append(event)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def mirror_of(ledger: Ledger) -> Iterator[Callable[[View], Mirror]]:
    made: list[Mirror] = []

    def make(view: View) -> Mirror:
        made.append(Mirror(ledger, lambda: view))
        return made[-1]

    yield make
    for mirror in made:
        mirror.close()


MirrorOf = Callable[[View], Mirror]


def add(ledger: Ledger, count: int) -> None:
    first = len(ledger.events())
    for place in range(first, first + count):
        ledger.append("fact", "", place)


def test_events_are_shown_in_order(ledger: Ledger, mirror_of: MirrorOf) -> None:
    add(ledger, 3)
    board = Board()
    mirror = mirror_of(board)
    assert mirror.drain(PATIENCE_S)
    add(ledger, 150)  # more than a batch
    assert mirror.drain(PATIENCE_S)
    assert board.shown == ledger.events()
    assert (mirror.trouble, mirror.fatal) == ("", None)
    assert ledger.cursor(board.name) == ledger.events()[-1].seq


def test_a_restart_goes_on_after_the_last_event_shown(ledger: Ledger, mirror_of: MirrorOf) -> None:
    boards = []
    for _ in range(3):
        add(ledger, 2)
        boards.append(Board())
        mirror = mirror_of(boards[-1])
        assert mirror.drain(PATIENCE_S)
        mirror.close()
        assert boards[-1].past == ledger.events()
    assert [event for board in boards for event in board.shown] == ledger.events()


def test_an_outage_loses_nothing_and_changes_no_order(ledger: Ledger, mirror_of: MirrorOf) -> None:
    add(ledger, 3)
    board = Board(away=2)
    mirror = mirror_of(board)
    assert mirror.drain(PATIENCE_S)
    assert board.tries == 5
    assert board.shown == ledger.events()
    assert mirror.trouble == ""


def test_a_view_that_stays_away(ledger: Ledger, mirror_of: MirrorOf) -> None:
    add(ledger, 2)
    board = Board(away=1_000_000)
    mirror = mirror_of(board)
    wait_for(lambda: mirror.trouble, "the first failure")
    assert not mirror.drain(0.2)
    assert mirror.trouble == "the board: no answer to fact 0"
    mirror.close()
    assert ledger.cursor(board.name) == 0
    back = Board()
    assert mirror_of(back).drain(PATIENCE_S)
    assert back.shown == ledger.events()


def test_a_view_that_is_away_is_opened_when_it_is_back(ledger: Ledger, mirror_of: MirrorOf) -> None:
    add(ledger, 2)
    board = Board(closed=1)
    mirror = mirror_of(board)
    wait_for(lambda: mirror.trouble == "the board: nobody is there", "the view is away")
    add(ledger, 3)
    assert mirror.drain(PATIENCE_S)
    assert (len(board.shown), mirror.trouble, mirror.fatal) == (5, "", None)


def test_a_view_that_is_never_there_does_not_hold_up_the_end(mirror_of: MirrorOf) -> None:
    board = Board(closed=1000)
    mirror = mirror_of(board)
    wait_for(lambda: bool(mirror.trouble), "the view is away")
    mirror.close()
    assert not board.shown
    assert mirror.fatal is None


@pytest.mark.parametrize(
    ("uri", "error", "comes_back"),
    [
        ("http://127.0.0.1:5000", MlflowException("refused"), True),
        ("http://127.0.0.1:5000", ConnectionError("refused"), True),
        ("http://127.0.0.1:5000", MlflowException("no", error_code=PERMISSION_DENIED), False),
        ("http://127.0.0.1:5000", TrackingError("another study's"), False),
        ("sqlite:///mlflow.db", MlflowException("malformed"), False),
    ],
)
def test_which_errors_of_mlflow_are_outages(uri: str, error: Exception, comes_back: bool) -> None:
    assert may_come_back(uri, error) == comes_back


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TrackingError("no such server"), TrackingError, "no such server"),
        (RuntimeError("broken\nand more"), FatalError, "the board can't be used: broken"),
    ],
)
def test_a_view_that_can_not_be_opened_is_fatal(
    mirror_of: MirrorOf, error: Exception, kind: type[FatalError], words: str
) -> None:
    mirror = mirror_of(Board(opening=error))
    with pytest.raises(kind) as caught:
        mirror.drain(PATIENCE_S)
    assert str(caught.value) == words
    assert mirror.fatal is caught.value


def test_a_view_that_can_not_be_made_is_fatal(ledger: Ledger) -> None:
    def make() -> View:
        raise TrackingError("not installed")

    mirror = Mirror(ledger, make)
    with pytest.raises(TrackingError, match="not installed"):
        mirror.drain(PATIENCE_S)
    mirror.close()


def test_close_ends_the_thread(mirror_of: MirrorOf) -> None:
    before = set(threading.enumerate())
    mirror = mirror_of(Board())
    (thread,) = set(threading.enumerate()) - before
    mirror.close()
    assert not thread.is_alive()


def test_close_ends_it_after_the_event_that_it_is_at(ledger: Ledger, mirror_of: MirrorOf) -> None:
    add(ledger, 10)
    board = Board()
    begun, closing = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        closing.wait(PATIENCE_S)

    board.before_each = wait
    mirror = mirror_of(board)
    assert begun.wait(PATIENCE_S)
    closer = threading.Thread(target=mirror.close)
    closer.start()
    assert mirror._closing.wait(PATIENCE_S)
    closing.set()
    closer.join()
    assert len(board.shown) == 1


class SlowReader(Ledger):
    """Takes half a second to hand over that there is nothing new, once it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slow = False
        self.found_nothing = threading.Event()

    def events(self, after: int = 0, limit: int = -1) -> list[Event]:
        found = super().events(after, limit)
        if self.slow and limit > 0 and not found:
            self.found_nothing.set()
            threading.Event().wait(0.5)
        return found


def test_drain_waits_for_what_was_told_just_before(tmp_path: Path) -> None:
    ledger, board = SlowReader(tmp_path / "slow.db"), Board()
    mirror = Mirror(ledger, lambda: board)
    try:
        ledger.slow = True
        assert ledger.found_nothing.wait(PATIENCE_S)
        add(ledger, 1)
        assert mirror.drain(PATIENCE_S)
        assert board.shown == ledger.events()
    finally:
        mirror.close()
        ledger.close()


class FullDisk(Ledger):
    """Can't be written any more."""

    def advance(self, view: str, seq: int) -> None:  # noqa: ARG002
        raise LedgerError("ledger: database or disk is full")


def test_a_ledger_that_fails_is_not_kept_quiet(tmp_path: Path) -> None:
    ledger = FullDisk(tmp_path / "full.db")
    add(ledger, 1)
    mirror = Mirror(ledger, Board)
    try:
        with pytest.raises(LedgerError, match="disk is full"):
            mirror.drain(PATIENCE_S)
    finally:
        mirror.close()
        ledger.close()
