"""What a person sees while a study runs: a live table in a terminal, a line for each ended net elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_sweep.ledger import Event
from fmnist_sweep.state import ENDED, JobRecord, StudyState


class Display(Protocol):
    """Shows a running study."""

    def watch(self, state: StudyState, event: Event | None) -> None:
        """Takes in an event, or None as time goes by."""
        ...

    def say(self, line: str) -> None:
        """Shows a line."""
        ...

    def close(self) -> None:
        """Ends the display, leaving what should stay."""
        ...


class Quiet:
    """Shows nothing."""

    def watch(self, state: StudyState, event: Event | None) -> None:
        """See ``Display``."""

    def say(self, line: str) -> None:
        """See ``Display``."""

    def close(self) -> None:
        """See ``Display``."""


class Lines:
    """A line for each net that ended: for logs and pipes."""

    def __init__(self, console: Console, target: int) -> None:
        self._console = console
        self._target = target

    def watch(self, state: StudyState, event: Event | None) -> None:
        """See ``Display``."""
        if event is not None and event.kind in ("ended", "died") and event.job in state.jobs:
            self._console.print(Text(ended_line(state, event, self._target)), soft_wrap=True)

    def say(self, line: str) -> None:
        """See ``Display``."""
        self._console.print(line, soft_wrap=True, highlight=False)

    def close(self) -> None:
        """See ``Display``."""


class LiveTable:
    """Running nets in a table that renews itself, and ended ones as lines above it."""

    def __init__(self, console: Console, target: int) -> None:
        self._console = console
        self._target = target
        self._begun = time.monotonic()
        self._state = StudyState()
        self._ended_before: int | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def watch(self, state: StudyState, event: Event | None) -> None:
        """See ``Display``."""
        self._state = state
        if self._ended_before is None:
            self._ended_before = len(state.trials(*ENDED))
        if event is not None and event.kind in ("ended", "died") and event.job in state.jobs:
            self._console.print(Text(ended_line(state, event, self._target)), no_wrap=True, overflow="ellipsis")
        self._live.update(self._render(), refresh=True)

    def say(self, line: str) -> None:
        """See ``Display``."""
        self._console.print(Text(line, style="dim"))

    def close(self) -> None:
        """See ``Display``."""
        self._live.stop()

    def _render(self) -> Group:
        state = self._state
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=True)
        table.add_column("running", no_wrap=True, max_width=24)
        table.add_column("net", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column("accuracy", justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        for job in state.jobs.values():
            if job.state == "running":
                accuracy = percent(job.reports[-1].val_accuracy) if job.reports else "-"
                epochs = f"{job.epoch:g}/{job.train.epochs}"
                table.add_row(called(job), job.arch.short, epochs, accuracy, time_left(job))
        return Group(Text(self._headline(), style="bold", no_wrap=True, overflow="ellipsis"), table)

    def _headline(self) -> str:
        state = self._state
        ended = len(state.trials(*ENDED))
        parts = [f"{state.study.get('name', '')}: {ended} of {self._target} trials"]
        best = next(iter(state.ranked()), None)
        if best is not None:
            parts.append(f"best {percent(best.best)} ({called(best)})")
        spent = time.monotonic() - self._begun
        parts.append(f"{clock(spent)} so far")
        new = ended - (self._ended_before or 0)
        if new >= 3:
            parts.append(f"about {clock(spent / new * (self._target - ended))} left")
        return " · ".join(parts)


def ended_line(state: StudyState, event: Event, target: int) -> str:
    """One line on a net that ended, or whose worker died."""
    job = state.jobs[event.job]
    ended = len(state.trials(*ENDED))
    best = next(iter(state.ranked()), None)
    head = f"[{ended}/{target}]" if job.kind == "trial" else "[lab]"
    if event.kind == "died":
        return f"{head} {called(job)}: {event.body['message']}; it goes on from its checkpoint"
    how = {"complete": "", "pruned": f"  pruned at epoch {job.epoch:g}", "failed": f"  FAILED: {job.reason}"}[job.state]
    if job.same_as:
        how = f"  the same net as {job.same_as}"
    led = f"  best {percent(best.best)}" if best is not None and job.kind == "trial" else ""
    return f"{head} {called(job)}  {percent(job.best)}{led}  {job.arch.short}{how}"


def called(job: JobRecord) -> str:
    """The name of a job for people."""
    return f"trial {job.number}" if job.kind == "trial" else job.key


def percent(share: float | None) -> str:
    """As in ``91.25 %``."""
    return "-" if share is None else f"{100 * share:.2f} %"


def clock(seconds: float) -> str:
    """As in ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def time_left(job: JobRecord) -> str:
    """How long a running job has to go if it is not pruned, at its own pace."""
    if not job.reports or not job.epoch:
        return "-"
    last = job.reports[-1]
    return clock(last.train_s / last.epoch * (job.train.epochs - last.epoch))
