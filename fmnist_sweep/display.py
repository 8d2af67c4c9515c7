"""What a person sees while a study runs: a live table in a terminal, a line for each ended net elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_sweep.estimate import seconds_left
from fmnist_sweep.ledger import Event
from fmnist_sweep.pruning import last_rung
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import ENDED, JobRecord, StudyState

_DRAWINGS_SHARE = 20  # of the time one drawing is for the table
_LINES_BESIDE = 6  # of a terminal: what stands around the table of running nets, and the last news


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
        line = news(state, event, self._target)
        if line:
            self._console.print(Text(line), soft_wrap=True)

    def say(self, line: str) -> None:
        """See ``Display``."""
        self._console.print(line, soft_wrap=True, highlight=False)

    def close(self) -> None:
        """See ``Display``."""


class LiveTable:
    """Running nets in a table that renews itself, and news as lines above it."""

    def __init__(self, console: Console, target: int) -> None:
        self._console = console
        self._target = target
        self._workers = 1  # the most that were seen at work at once: a cluster's number is nobody's to know before
        self._begun = time.monotonic()
        self._again = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def watch(self, state: StudyState, event: Event | None) -> None:
        """See ``Display``."""
        line = news(state, event, self._target)
        if line:
            self._console.print(Text(line), no_wrap=True, overflow="ellipsis")
        begun = time.monotonic()
        if begun >= self._again:  # drawing goes through all trials, and events come as fast as they may
            self._live.update(self._render(state), refresh=True)
            self._again = begun + _DRAWINGS_SHARE * (time.monotonic() - begun)

    def say(self, line: str) -> None:
        """See ``Display``."""
        self._console.print(Text(line, style="dim"))

    def close(self) -> None:
        """See ``Display``."""
        self._live.stop()

    def _render(self, state: StudyState) -> Group:
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=True)
        table.add_column("training", no_wrap=True, max_width=24)
        table.add_column("net", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column("accuracy", justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        running = [job for job in state.jobs.values() if job.state == "running" and not job.paused]
        self._workers = max(self._workers, len(running))
        room = max(self._console.height - _LINES_BESIDE, 1)
        for job in running[:room]:
            accuracy = percent(job.reports[-1].standing) if job.reports else "-"
            epochs = f"{job.epoch:g}/{job.train.epochs}"
            table.add_row(called(job), job.arch.short, epochs, accuracy, time_left(job))
        more = [Text(f"and {len(running) - room} more", style="dim")] if len(running) > room else []
        headline = Text(self._headline(state), style="bold", no_wrap=True, overflow="ellipsis")
        return Group("", headline, table, *more)

    def _headline(self, state: StudyState) -> str:
        parts = [f"{tried(state)} of {self._target} trials tried"] if self._target else []
        others = state.others()
        if any(job.state not in ENDED for job in others):
            parts.append(f"{sum(job.state in ENDED for job in others)} of {len(others)} other nets")
        leader = best_so_far(state)
        if leader is not None:
            parts.append(f"best {percent(leader.best)} ({called(leader)})")
        parts.append(f"{clock(time.monotonic() - self._begun)} so far")
        left = seconds_left(state, self._target, self._workers)
        if left is not None:
            parts.append(f"about {clock(left)} left")
        return " · ".join(parts)


def tried(state: StudyState) -> int:
    """Trials that have come to a rung or an end, be it that they train on."""
    rungs = set(state.study["config"]["fidelity"]["rungs"]) if state.study.get("config") else set()
    past = (job for job in state.trials("waiting", "running") if any(it.epoch in rungs for it in job.reports))
    return len(state.trials("held", *ENDED)) + sum(1 for _ in past)


def best_so_far(state: StudyState) -> JobRecord | None:
    """The sound trial with the best validation accuracy yet, trained in full or not."""
    scored = (job for job in state.trials() if job.best is not None and job.state != "failed")
    return max(scored, key=lambda job: job.best or 0.0, default=None)


def news(state: StudyState, event: Event | None, target: int) -> str:
    """One line on a net that ended, was set aside or lost its worker; "" for all else.

    It names the best accuracy of a net that has ended, and what a net was compared by where that set it aside.
    """
    if event is None or event.kind not in ("ended", "held", "died") or event.job not in state.jobs:
        return ""
    job = state.jobs[event.job]
    head = f"[{tried(state)}/{target}]" if job.kind == "trial" else f"[{job.kind}]"
    if event.kind == "died":
        return f"{head} {called(job)}: {event.body['message']}; it goes on from its checkpoint"
    how = {
        "held": f"set aside at epoch {job.epoch:g}  ",
        "complete": "trained in full  " if job.kind == "trial" else "",
        "pruned": f"pruned at epoch {job.epoch:g}  ",
        "failed": f"FAILED: {job.reason}  ",
    }[job.state]
    if job.same_as and job.state != "failed":
        how = f"the same net as {job.same_as}  "
    if job.state == "pruned" and event.kind == "ended" and job.attempts and "set aside" in job.reason:
        return ""  # that it was set aside has been told
    accuracy = job.best
    if job.state == "held":
        accuracy = job.reports[-1].standing
        fidelity = SweepConfig.model_validate(state.study["config"]).fidelity
        if fidelity.full_training == "at_end" and job.epoch == last_rung([job], fidelity):
            how = f"at the last rung, epoch {job.epoch:g}  "
    return f"{head} {called(job)}  {percent(accuracy)}  {how}{job.arch.short}"


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
