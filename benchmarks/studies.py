"""Studies of the product: reading one that is there, or running one, by the product's own session."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.options import Options
from fmnist_sweep import session
from fmnist_sweep.ending import Stopping
from fmnist_sweep.errors import UsageError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.session import Hooks, MakeExtras, Scene, Work
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan


def read(options: Options, folder: Path) -> list[Event]:
    """The events of the study that the user names.

    The ledger is copied first, by SQLite's own backup, so that a running study is not touched.

    Args:
        options: With ``home``; ``study`` may be left out where there is only one.
        folder: For the copy.

    Raises:
        UsageError: No such study.
    """
    assert options.home is not None
    home = Home(options.home)
    known = home.studies()
    name = options.study or (known[0] if len(known) == 1 else "")
    if name not in known:
        raise UsageError(
            f"--home {options.home} has no study {name!r}; valid for --study: {', '.join(known) or 'none'}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"copy-of-{name}.db"
    copy.unlink(missing_ok=True)
    with (
        sqlite3.connect(f"{home.study(name).ledger.resolve().as_uri()}?mode=ro", uri=True) as source,
        sqlite3.connect(copy) as target,
    ):
        source.backup(target)
    return events(copy)


def events(path: Path) -> list[Event]:
    """All events of a ledger."""
    ledger = Ledger(path)
    try:
        return ledger.events()
    finally:
        ledger.close()


def run(
    options: Options,
    home: Path,
    config: SweepConfig,
    *,
    name: str,
    target: int,
    seed: int = 0,
    extras: MakeExtras = lambda _state, _data: (),
    finale: Callable[[Scene], None] = lambda _: None,
) -> StudyState:
    """Runs or resumes a study in this process.

    Raises:
        UsageError: It did not come to its end.
    """
    settings = Settings(home=Home(home), study=name, data_dir=options.data_dir, seed=seed)
    planned = Plan(name, name, config, seed)
    ended = session.run(settings, planned, Work(target, extras, finale), Hooks(_follow, lambda: Stopping.NO, _say))
    if ended.outcome != "done":
        raise UsageError(f"study {name!r} is {ended.outcome}; valid: run it to its end")
    return ended.state


def _follow(state: StudyState, event: Event | None) -> None:
    if event is not None and event.kind == "ended":
        job = state.jobs[event.job]
        _say(f"{job.key}: {job.state}, {100 * (job.best or 0.0):.2f} %")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
