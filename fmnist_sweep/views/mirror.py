"""Carries the ledger's events to a view, in order, in a thread of its own, through outages and restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from fmnist_sweep.errors import FatalError
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState

_BATCH = 64
_IDLE_S = 0.2
_LONGEST_WAIT_S = 15.0


class View(Protocol):
    """Something outside that shows the study. One thread, the mirror's, uses it."""

    @property
    def name(self) -> str:
        """Names the view in the ledger and to people."""
        ...

    def open(self, past: list[Event]) -> None:
        """Connects; ``past`` is the whole ledger so far, with what this view recorded in it.

        Raises:
            FatalError: It can't be used, and waiting would not help.
        """
        ...

    def take(self, event: Event, state: StudyState) -> None:
        """Shows ``event``; ``state`` is the study just after it.

        The same event may come again after a failure, and must then change nothing.

        Raises:
            Exception: The view is away; the event is taken again later.
        """
        ...


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
        self._caught_up = threading.Event()
        self._name = "a view"
        self.fatal: FatalError | None = None
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name="mirror")
        self._thread.start()

    def drain(self, timeout_s: float) -> bool:
        """Waits until all that is in the ledger now is shown.

        Returns:
            False if that took too long; ``trouble`` says why.

        Raises:
            FatalError: The view can't be used at all.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.fatal is None:
            self._caught_up.clear()
            if self._caught_up.wait(min(1.0, max(0.0, deadline - time.monotonic()))):
                break
        if self.fatal is not None:
            raise self.fatal
        return self._caught_up.is_set()

    def close(self) -> None:
        """Ends the thread after the event that it is at."""
        self._closing.set()
        self._thread.join(timeout=30.0)

    def _run(self) -> None:
        try:
            view = self._make()
            self._name = view.name
            seq = self._ledger.cursor(view.name)
            past = self._ledger.events()
            view.open(past)
        except FatalError as error:
            self.fatal = error
            return
        except Exception as error:
            self.fatal = FatalError(f"{self._name} can't be used: {_line(error)}")
            return
        self._follow(view, past, seq)

    def _follow(self, view: View, past: list[Event], seq: int) -> None:
        state = StudyState.of(event for event in past if event.seq <= seq)
        while not self._closing.is_set():
            events = self._ledger.events(after=state.seq, limit=_BATCH)
            for event in events:
                state.apply(event)
                if not self._take(view, event, state):
                    return
            if events:
                self._ledger.advance(view.name, state.seq)
            else:
                self._caught_up.set()
                self._closing.wait(_IDLE_S)

    def _take(self, view: View, event: Event, state: StudyState) -> bool:
        """Shows one event, however long the view is away; False if the mirror is closed before."""
        wait_s = 1.0
        while True:
            try:
                view.take(event, state)
            except Exception as error:
                self.trouble = f"{view.name}: {_line(error)}"
                if self._closing.wait(wait_s):
                    return False
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self.trouble = ""
                return True


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
