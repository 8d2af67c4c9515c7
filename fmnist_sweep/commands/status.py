"""``status``: where a study stands, now or while it runs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fmnist_sweep import study, summary
from fmnist_sweep.commands.run import address, results_table
from fmnist_sweep.display import called, clock, percent
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState

_EVERY_S = 2.0


def status(settings: Settings, *, watch: bool, console: Console) -> dict[str, Any]:
    """Shows a study; with ``watch`` until nothing of it runs any more, or Ctrl-C."""
    name = settings.study or study.plan(settings).name
    state = study.read(settings, name)
    if watch:
        with Live(_page(state, settings), console=console, auto_refresh=False, transient=True) as live:
            while settings.home.study(name).in_use:
                time.sleep(_EVERY_S)
                state = study.read(settings, name)
                live.update(_page(state, settings), refresh=True)
    console.print(_page(state, settings))
    target = state.target
    recorded = state.views.get("tracking_uri", "")
    shown = replace(settings, tracking_uri=settings.tracking_uri or recorded)
    found = summary.as_json(state, shown, target, state.wall_s, address(shown, state))
    found["in_use"] = settings.home.study(name).in_use
    found["running"] = [
        {"job": job.key, "epoch": job.epoch, "val_accuracy": job.best}
        for job in state.unfinished()
        if found["in_use"] and job.state == "running" and not job.paused
    ]
    found["set_aside"] = len(state.trials("held"))
    return found


def _page(state: StudyState, settings: Settings) -> Table:
    """Counts, what runs, and the best so far, one under the other."""
    name = state.study["name"]
    running = settings.home.study(name).in_use
    ended = summary.counts(state)
    page = Table.grid()
    page.add_column()
    page.add_row(
        f"{name}: {sum(ended.values())} trials ended ({ended['complete']} complete, {ended['pruned']} pruned, "
        f"{ended['failed']} failed), {clock(state.wall_s)} so far, {'running' if running else 'not running'}"
    )
    for line in under_way(state, running):
        page.add_row(f"  {line}")
    page.add_row("")
    page.add_row(results_table(state))
    return page


def under_way(state: StudyState, running: bool) -> list[str]:
    """A line for each net that trains, and one for all that are set aside.

    Args:
        state: Of the study.
        running: Whether a driver is at work on it.
    """
    lines = []
    for job in state.unfinished():
        if job.state != "held":
            what = "training" if running and job.state == "running" and not job.paused else "unfinished"
            at = f"epoch {job.epoch:g} of {job.train.epochs}, {percent(job.best)}"
            lines.append(f"{called(job)} {what}: {at}, {job.arch.short}")
    held = len(state.trials("held"))
    if held:
        lines.append(f"set aside at a rung for now: {held}")
    return lines
