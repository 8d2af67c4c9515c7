"""Carries the ledger's events to a view, in order, in a thread of its own, through outages and restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from fmnist_sweep.errors import FatalError, StudyError, first_line
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState

_BATCH = 64
_IDLE_S = 0.2
_LONGEST_WAIT_S = 15.0


class AwayError(Exception):
    """The view does not answer now; it may later."""


class View(Protocol):
    """Something outside that shows the study. One thread, the mirror's, uses it."""

    @property
    def name(self) -> str:
        """Names the view in the ledger and to people."""
        ...

    @property
    def shows(self) -> frozenset[str]:
        """Kinds of events that change what it shows."""
        ...

    def open(self, past: list[Event]) -> None:
        """Connects; ``past`` is the whole ledger so far, with what this view recorded in it.

        Raises:
            AwayError: It can't be reached now; it is opened again later.
            FatalError: It can't be used, and waiting would not help.
        """
        ...

    def take(self, event: Event, state: StudyState) -> None:
        """Shows ``event``; ``state`` is the study just after it.

        The same event may come again after a failure, and must then change nothing.

        Raises:
            StudyError: Another driver has taken the study over; nothing more is shown.
            Exception: The view is away; the event is taken again later.
        """
        ...


def replay(view: View, events: Iterable[Event], jobs: Collection[str]) -> None:
    """Shows in an open view all that happened to ``jobs`` once more; "" stands for the study itself.

    Raises:
        Exception: The view is away.
    """
    state = StudyState()
    for event in events:
        state.apply(event)
        if event.job in jobs and event.kind in view.shows:
            view.take(event, state)


class Mirror:
    """Keeps one view up to date with the ledger; see the module.

    Args:
        ledger: The study's.
        make: Makes the view; called in the mirror's thread, as its library may take seconds to load.
    """

    def __init__(self, ledger: Ledger, make: Callable[[], View]) -> None:
        self._ledger = ledger
        self._make = make
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._shown = -1  # seq of the last event that the view shows, -1 until it is open; guarded by _changed
        self._fatal: FatalError | None = None
        self._name = "a view"
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name="mirror")
        self._thread.start()

    @property
    def fatal(self) -> FatalError | None:
        """Why nothing is shown any more; None while something is."""
        return self._fatal

    def drain(self, timeout_s: float) -> bool:
        """Waits until all that is in the ledger now is shown.

        Returns:
            False if that took too long; ``trouble`` says why.

        Raises:
            FatalError: The view can't be used at all.
        """
        last = self._ledger.last()
        with self._changed:
            self._changed.wait_for(lambda: self._shown >= last or self._fatal is not None, timeout_s)
            if self._fatal is not None:
                raise self._fatal
            return self._shown >= last

    def close(self) -> None:
        """Ends the thread after the event that it is at."""
        self._closing.set()
        self._thread.join(timeout=30.0)

    def _run(self) -> None:
        try:
            view = self._make()
            self._name = view.name
            seq = self._ledger.cursor(view.name)
            past = self._open(view)
            self._follow(view, StudyState.of(event for event in past if event.seq <= seq), seq)
        except FatalError as error:
            self._tell(fatal=error)
        except Exception as error:
            self._tell(fatal=FatalError(f"{self._name} can't be used: {first_line(error)}"))

    def _open(self, view: View) -> list[Event]:
        """Opens the view, however long it is away; the events of the past, none if the mirror is closed before."""
        wait_s = 1.0
        while True:
            past = self._ledger.events()
            try:
                view.open(past)
            except AwayError as error:
                self.trouble = f"{view.name}: {first_line(error)}"
                if self._closing.wait(wait_s):
                    return []
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self.trouble = ""
                return past

    def _follow(self, view: View, state: StudyState, seq: int) -> None:
        self._tell(shown=seq)
        while not self._closing.is_set():
            events = self._ledger.events(after=seq, limit=_BATCH)
            for event in events:
                state.apply(event)
                if self._closing.is_set() or not self._take(view, event, state):
                    break
                seq = event.seq
            if events:
                self._ledger.advance(view.name, seq)
                self._tell(shown=seq)
            else:
                self._closing.wait(_IDLE_S)

    def _tell(self, shown: int = -1, fatal: FatalError | None = None) -> None:
        with self._changed:
            self._shown = max(self._shown, shown)
            self._fatal = fatal
            self._changed.notify_all()

    def _take(self, view: View, event: Event, state: StudyState) -> bool:
        """Shows one event, however long the view is away; False if the mirror is closed before."""
        wait_s = 1.0
        while True:
            try:
                view.take(event, state)
            except StudyError:
                raise
            except Exception as error:
                self.trouble = f"{view.name}: {first_line(error)}"
                if self._closing.wait(wait_s):
                    return False
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self.trouble = ""
                return True
