"""What a trial costs beside its training: the real driver, ledger, proposer and views, and an instant trainer.

The views run in threads of the same process. In the trials that are timed they are held back while the driver works
and let go while it waits, so that neither is measured while it waits for the other.
"""

from __future__ import annotations

import io
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_sweep import config as sweeps
from fmnist_sweep import lab, proposers, study
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.data import DataSource, PreparedData
from fmnist_sweep.display import LiveTable
from fmnist_sweep.driver import Driver
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.proposers import Judge, Past, Proposal, Proposer, Task, Wait
from fmnist_sweep.proposers.base import Excess
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan
from fmnist_sweep.trial import Report, ReportTo, TrialJob, TrialResult
from fmnist_sweep.views import Mirror, View

HALF_WINDOW = 10
_DRAIN_S = 3600.0
_NAME = "bookkeeping"
DRIVER, PROPOSER, DISPLAY = "driver, proposer and display", "of which proposer", "of which display"
PARTS_OF_DRIVER = (PROPOSER, DISPLAY)


def instant(job: TrialJob, report: ReportTo) -> TrialResult:
    """Trains nothing: reports a rising curve, whose height the net's fingerprint draws."""
    talent = 0.5 + 0.4 * int(fingerprint(job.arch, job.train)[:6], 16) / 0xFFFFFF
    said = []
    for place, epoch in enumerate(job.report_at):
        accuracy = talent * epoch / (epoch + 0.5)
        said.append(Report(place, epoch, 1 - accuracy, accuracy, 1 - accuracy, accuracy, epoch, int(epoch * 100)))
        report(said[-1])
    return TrialResult.so_far(said)


@dataclass(slots=True)
class Spent:
    """Seconds: by the clock, and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0


class Stopwatch:
    """Seconds by what they were spent on, in windows around some trials; and the views' gate.

    Args:
        at: Trials to look at.
        half: Trials of a window to each side.
    """

    def __init__(self, at: Sequence[int], half: int = HALF_WINDOW) -> None:
        self._at, self._half = tuple(at), half
        self.spent: dict[int, dict[str, Spent]] = {trial: defaultdict(Spent) for trial in at}
        self.counted: dict[int, int] = dict.fromkeys(at, 0)
        self.gate = threading.Event()
        self.gate.set()
        self._window: int | None = None
        self._since = _now()

    def window(self, number: int) -> int | None:
        """The trial whose window this one lies in."""
        return next((at for at in self._at if at - self._half <= number < at + self._half), None)

    def next_trial(self, number: int, drain: Callable[[], None]) -> None:
        """The driver asks for its next trial: books the last one, and lets the views catch up."""
        if self._window is not None:
            self.add(DRIVER, self._since)
            self.counted[self._window] += 1
        here = self.window(number)
        if here is not None or self._window is not None:
            self.gate.set()
            drain()  # what the views do here belongs to the trials before
        self._window = here
        if here is not None:
            self.gate.clear()
        self._since = _now()

    def add(self, what: str, since: tuple[float, float]) -> None:
        """Books the time of this thread since a moment, if this is a window."""
        if self._window is not None:
            wall, cpu = _now()
            spent = self.spent[self._window][what]
            spent.wall += wall - since[0]
            spent.cpu += cpu - since[1]

    def per_trial(self) -> dict[str, dict[str, dict[str, float]]]:
        """By window and by what they were spent on: seconds of one trial, ``wall`` and ``cpu``."""
        return {
            str(at): {
                what: {"wall": one.wall / self.counted[at], "cpu": one.cpu / self.counted[at]}
                for what, one in sorted(spent.items())
            }
            for at, spent in self.spent.items()
        }


def _now() -> tuple[float, float]:
    """The clock, and the processor time of this thread."""
    return time.perf_counter(), time.thread_time()


class _TimedProposer:
    def __init__(self, proposer: Proposer, watch: Stopwatch, drain: Callable[[], None]) -> None:
        self._proposer, self._watch, self._drain = proposer, watch, drain

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:
        self._watch.next_trial(len(past), self._drain)
        since = _now()
        proposal = self._proposer.ask(past, excess)
        self._watch.add(PROPOSER, since)
        return proposal


class _TimedJudge(_TimedProposer):
    """One that says who trains on, too; the driver asks it if it can."""

    def __init__(self, judge: Judge, proposer: Proposer, watch: Stopwatch, drain: Callable[[], None]) -> None:
        super().__init__(proposer, watch, drain)
        self._judge = judge

    def worth(self, past: Sequence[Past], places: Sequence[int]) -> list[float]:
        since = _now()
        found = self._judge.worth(past, places)
        self._watch.add(PROPOSER, since)
        return found


def timed(proposer: Proposer, watch: Stopwatch, drain: Callable[[], None]) -> Proposer:
    """The proposer with its time booked; a judge stays one."""
    if isinstance(proposer, Judge):
        return _TimedJudge(proposer, proposer, watch, drain)
    return _TimedProposer(proposer, watch, drain)


class _TimedView:
    def __init__(self, view: View, watch: Stopwatch) -> None:
        self._view, self._watch = view, watch

    @property
    def name(self) -> str:
        return self._view.name

    @property
    def shows(self) -> frozenset[str]:
        return self._view.shows

    def open(self, past: list[Event]) -> None:
        self._view.open(past)

    def take(self, event: Event, state: StudyState) -> None:
        self._watch.gate.wait()
        since = _now()
        self._view.take(event, state)
        self._watch.add(self._view.name, since)


def measure(
    source: DataSource,
    data: PreparedData,
    folder: Path,
    at: Sequence[int],
    say: Callable[[str], None],
    half: int = HALF_WINDOW,
) -> dict[str, Any]:
    """Runs a study past the last of the trials ``at``, and times ``half`` trials before and after each.

    Args:
        source: Where the images are from.
        data: The images; nobody looks at them.
        folder: For ledger and databases; must be new.
        at: Trials to look at.
        say: Told now and then how far it is.
        half: Trials of a window to each side.
    """
    home, config = Home(folder), sweeps.load("default")[1]
    ledger = _new_ledger(home, config, source, data)
    watch, executor = Stopwatch(at, half), InlineExecutor(instant)
    target, began = max(at) + half + 1, time.perf_counter()
    with closing(ledger), _mirrored(home, ledger, watch) as mirrors, closing(executor):
        task = Task(config, data.image_shape, data.classes, 0)
        driver = Driver(
            ledger=ledger,
            task=task,
            data=data,
            folder=home.study(_NAME),
            proposer=timed(proposers.make(task), watch, lambda: _drain(mirrors)),
            executor=executor,
            watch=_shown(watch, say, target),
        )
        driver.run(target)
        events, wall_s = len(ledger.events()), time.perf_counter() - began
    return {"seconds": watch.per_trial(), "trials": target, "events": events, "wall_s": wall_s}


def _new_ledger(home: Home, config: SweepConfig, source: DataSource, data: PreparedData) -> Ledger:
    place = home.study(_NAME)
    place.path.mkdir(parents=True)
    ledger = Ledger(place.ledger)
    study.begin(ledger, Plan(_NAME, "default", config, 0), Settings(home), source, data)
    return ledger


def _shown(spent: Stopwatch, say: Callable[[str], None], target: int) -> Callable[[StudyState, Event | None], None]:
    """The table that a terminal shows, drawn for nobody."""
    table = LiveTable(Console(file=io.StringIO(), force_terminal=True, width=80, height=40), target)

    def watch(state: StudyState, event: Event | None) -> None:
        since = _now()
        table.watch(state, event)
        spent.add(DISPLAY, since)
        if event is not None and event.kind == "asked" and state.jobs[event.job].number % 100 == 0:
            say(f"bookkeeping: trial {state.jobs[event.job].number} of {target}")

    return watch


@contextmanager
def _mirrored(home: Home, ledger: Ledger, watch: Stopwatch) -> Iterator[list[Mirror]]:
    """Follows the ledger with timed views while it is entered."""
    mirrors = [_mirror(ledger, make, watch) for make in _views(home, ledger)]
    try:
        yield mirrors
    finally:
        watch.gate.set()
        for mirror in mirrors:
            mirror.close()


def _mirror(ledger: Ledger, make: Callable[[], View], watch: Stopwatch) -> Mirror:
    return Mirror(ledger, lambda: _TimedView(make(), watch))


def _views(home: Home, ledger: Ledger) -> list[Callable[[], View]]:
    def runs() -> View:
        from fmnist_sweep.views.mlflow_runs import MlflowView

        return MlflowView(home.mlflow_uri, ledger, home.artifacts, lab.ABOUT)

    def storage() -> View:
        from fmnist_sweep.views.optuna_storage import OptunaView

        return OptunaView(home.optuna_uri, _NAME)

    return [runs, storage]


def _drain(mirrors: Sequence[Mirror]) -> None:
    for mirror in mirrors:
        if not mirror.drain(_DRAIN_S):
            raise FatalError(mirror.trouble or "a view is slow")
