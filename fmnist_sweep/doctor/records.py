"""Reads a study's ledger with all the care that the record of everything deserves: nothing in it is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fmnist_sweep.display import called
from fmnist_sweep.errors import DamagedLedgerError
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState

_PATIENCE_S = 30.0  # with whoever holds the ledger


@dataclass(frozen=True, slots=True)
class Record:
    """What a ledger holds.

    Attributes:
        events: In order.
        state: The fold over them.
        told: By view, the last event that it has taken over.
    """

    events: tuple[Event, ...]
    state: StudyState
    told: dict[str, int]

    def behind(self, view: str, shows: frozenset[str]) -> list[Event]:
        """The events that would change ``view``, and that it was not told."""
        return [event for event in self.events if event.seq > self.told.get(view, 0) and event.kind in shows]

    def up_to_date(self, view: str, shows: frozenset[str]) -> set[str]:
        """Jobs of which ``view`` was told all."""
        return set(self.state.jobs) - {event.job for event in self.behind(view, shows)}


def read(path: Path, views: Iterable[str]) -> Record:
    """Reads a whole ledger, and how far each of ``views`` has taken it over.

    Raises:
        DamagedLedgerError: It is damaged, or contradicts itself.
        LedgerError: It can't be opened now, or is of a newer release.
    """
    _verify(path)
    ledger = Ledger(path)
    try:
        events = ledger.events()
        told = {view: ledger.cursor(view) for view in views}
    finally:
        ledger.close()
    try:
        state = StudyState.of(events)
    except Exception as error:
        raise DamagedLedgerError(f"ledger {path} contradicts itself: {type(error).__name__} {error}") from None
    if not events and StudyFolder(path.parent).has_jobs:
        raise DamagedLedgerError(f"ledger {path} is empty, though jobs were trained")
    gaps = list(_gaps(state))
    if gaps:
        raise DamagedLedgerError(f"ledger {path} has gaps: {gaps[0]}")
    return Record(tuple(events), state, told)


def _verify(path: Path) -> None:
    """Has SQLite check every page, through a connection that can't write."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)) as db:
            found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error:
        return  # whoever opens it next says what is wrong, and what helps
    if found != "ok":
        raise DamagedLedgerError(f"ledger {path} is damaged: {found.splitlines()[-1]}")


def _gaps(state: StudyState) -> Iterator[str]:
    """What no driver writes, and a lost event leaves."""
    if state.jobs and not state.study:
        yield "the event that began the study is lost"
    numbers = [job.number for job in state.trials()]
    if numbers != list(range(len(numbers))):
        yield f"its trials are numbered {numbers}"
    for job in state.jobs.values():
        places = [report.place for report in job.reports]
        if places != list(range(len(places))):
            yield f"{called(job)} has the report points {places}"
        if job.state in ("complete", "pruned") and job.result is None:
            yield f"{called(job)} is {job.state} and has no result"
        if job.same_as and job.same_as not in state.jobs:
            yield f"{called(job)} is the same as {job.same_as}, which is not there"
