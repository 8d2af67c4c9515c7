"""``run`` and ``lab``: a study from the command line, with signals, display and summary."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from types import FrameType
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fmnist_sweep import lab, session, study, summary
from fmnist_sweep.arch import seeds_from
from fmnist_sweep.commands import closing
from fmnist_sweep.commands.preview import expected_workers, forecast, pace_of, sentence
from fmnist_sweep.data import PreparedData, facts_of
from fmnist_sweep.display import Display, Lines, LiveTable, Quiet, clock, percent
from fmnist_sweep.ending import Stopping
from fmnist_sweep.lab import Variant
from fmnist_sweep.session import Hooks, Session, Work
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan
from fmnist_sweep.trial import Extra
from mlflow_server.addresses import compare_url

LOCAL_UI = "http://127.0.0.1:5000"
INTERRUPTED = 130
_UNHEARD_S = 10.0  # a driver asks four times a second, and its longest thought takes a few seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, the object for ``--json``, and the run."""

    code: int
    result: dict[str, Any]
    session: Session


def run(settings: Settings, trials: int | None, *, with_lab: bool, fresh: bool, quiet: bool, console: Console) -> Ended:
    """Runs or resumes a study; see the command line's ``run``."""
    planned = study.plan(settings, fresh)
    target = planned.config.study.trials if trials is None else trials

    def extras(_: StudyState, data: PreparedData) -> list[Extra]:
        wanted = planned.config.lab.variants if with_lab else []
        return as_extras(
            lab.variants(
                wanted,
                input_shape=data.image_shape,
                classes=data.classes,
                epochs=lab_epochs(planned),
                seed=planned.seed,
            )
        )

    if not quiet and (fresh or not settings.home.study(planned.name).exists):
        console.print(_expected(settings, planned, target, with_lab), highlight=False)
    work = Work(target, extras, fresh=fresh, patience=planned.config.study.patience)
    return study_of(settings, planned, work, quiet, console)


def _expected(settings: Settings, planned: Plan, target: int, with_lab: bool) -> str:
    workers, pace = expected_workers(settings), pace_of(settings)
    expected = forecast(planned, target, workers, pace, facts_of(planned.config.data, settings.data_dir))
    return sentence(target, expected.trials_s + with_lab * expected.lab_s, workers, pace.trials, with_lab) + "."


def as_extras(variants: Iterable[Variant]) -> list[Extra]:
    """The lab's nets as jobs."""
    return [Extra(variant.name, "lab", variant.arch, variant.train) for variant in variants]


def run_lab(settings: Settings, names: Sequence[str], seeds: int, *, quiet: bool, console: Console) -> Ended:
    """Trains the lab's nets alone, each under several seeds; see the command line's ``lab``.

    They train for as many epochs as those that the study has, so that all of them compare.
    """
    planned = study.plan(settings)
    numbers = list(islice(seeds_from(planned.seed), seeds))
    lab.seeded(names, numbers, input_shape=(28, 28, 1), classes=10, epochs=settings.epochs or 1)  # or refuses

    def extras(state: StudyState, data: PreparedData) -> list[Extra]:
        before = {job.train.epochs for job in state.of_kind("lab") if job.key.startswith("lab-cnn")}
        alone = None if state.trials() else planned.epochs  # of a search they are the trials'
        epochs = settings.epochs or max(before, default=0) or alone or lab_epochs(planned)
        return as_extras(
            lab.seeded(
                names,
                numbers,
                input_shape=data.image_shape,
                classes=data.classes,
                epochs=epochs,
            )
        )

    return study_of(settings, planned, Work(0, extras, search=False), quiet, console)


def lab_epochs(planned: Plan) -> int:
    """The lab's five, unless the sweep or ``--epochs``, which a study keeps, is content with fewer."""
    return min(lab.PROTOCOL.epochs, planned.config.epochs)


def study_of(
    settings: Settings, planned: Plan, work: Work, quiet: bool, console: Console, results: bool = True
) -> Ended:
    """Runs a study with display and signals, and with ``results`` says what came of it."""
    shown = display(console, work.target if work.search else 0, quiet)
    try:
        with _signals() as stopping:
            ended = session.run(settings, planned, work, Hooks(shown.watch, stopping, shown.say))
    finally:
        shown.close()
    url = address(settings, ended.state)
    if results and not quiet:
        show(console, ended, settings)
    if ended.undelivered:
        console.print(closing.undelivered(ended.undelivered), soft_wrap=True)
    result = summary.as_json(ended.state, settings, ended.state.target, ended.wall_s, url)
    result["outcome"] = ended.outcome
    code = INTERRUPTED if ended.outcome == "interrupted" else 1 if ended.undelivered else 0
    return Ended(code, result, ended)


def display(console: Console, target: int, quiet: bool) -> Display:
    """A live table in a terminal, lines elsewhere, nothing where that is asked for."""
    if quiet:
        return Quiet()
    return LiveTable(console, target) if console.is_terminal else Lines(console, target)


@contextmanager
def _signals() -> Iterator[Callable[[], Stopping]]:
    """While it is entered, a first Ctrl-C or SIGTERM asks for an end at the next report, a second for one now.

    Where nobody asks for seconds, as while files are fetched or models delivered, the second is raised as
    KeyboardInterrupt.
    """
    level, asked = Stopping.NO, -math.inf
    waiting: list[threading.Timer] = []

    def stopping() -> Stopping:
        nonlocal asked
        asked = time.monotonic()
        return level

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal level
        level = Stopping.AT_NEXT_REPORT if level is Stopping.NO else Stopping.NOW
        # A handler may come in the midst of a print, so it writes past all buffers.
        if level is Stopping.AT_NEXT_REPORT:
            with suppress(OSError):  # whoever reads it may have got the signal, too
                os.write(sys.stderr.fileno(), b"\nstopping at the next checkpoint of each net; again to stop at once\n")
        elif time.monotonic() - asked > _UNHEARD_S:
            raise KeyboardInterrupt
        else:  # somebody listened just now; if nobody does any more, this comes again
            later = threading.Timer(_UNHEARD_S + 0.5, again, (number, asked))
            later.daemon = True
            later.start()
            waiting.append(later)

    def again(number: int, last: float) -> None:
        if asked == last:
            os.kill(os.getpid(), number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for later in waiting:
            later.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def address(settings: Settings, state: StudyState) -> str:
    """Where MLflow compares the lab's nets and the best trials."""
    base = settings.tracking_uri if settings.tracking_uri.startswith("http") else LOCAL_UI
    experiment, runs = state.views.get("experiment_id"), summary.shown_runs(state)
    return compare_url(base, experiment, runs) if experiment and runs else ""


def show(console: Console, ended: Session, settings: Settings) -> None:
    """Prints the table, what was found and what to do next."""
    state, counts = ended.state, summary.counts(ended.state)
    console.print()
    console.print(results_table(state))
    console.print()
    trials = (
        f"{sum(counts.values())} of {ended.target} trials "
        f"({counts['complete']} complete, {counts['pruned']} pruned, {counts['failed']} failed)"
        if ended.target
        else f"{sum(1 for _ in state.of_kind('lab'))} of the lab's nets"
    )
    heading = closing.how_it_ended(ended.outcome)
    finals = ", the finals counted" if any(state.of_kind("final")) else ""
    console.print(f"{state.study['name']}: {heading}. {trials} in {clock(state.wall_s)}{finals}.", highlight=False)
    epochs, seconds = summary.epochs_saved(state)
    if epochs:
        console.print(f"Pruning saved {epochs:.0f} epochs, {clock(seconds)} of training.", highlight=False)
    if ended.champion:
        console.print(f"{ended.champion.line}.", highlight=False)
    closing.of_search(settings, state, ended.outcome).show(console)


def named_net(name: Text, net: str) -> Group:
    """A name, and below it the net in short form, indented however often it wraps."""
    return Group(name, Padding(Text(net, style="dim"), (0, 0, 0, 2)))


def results_table(state: StudyState) -> Table:
    """The best trials and the lab's nets, side by side, in 80 columns."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("net", overflow="fold")
    for name in ("parameters", "epochs", "accuracy", "training"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.rows(state):
        name = f"{row.name} ({row.note})" if row.note else row.name
        first = named_net(Text(name, style="" if row.lab else "bold"), row.net)
        cells = [f"{row.parameters:,}", f"{row.epochs:g}", percent(row.val_accuracy), f"{row.seconds:.0f} s"]
        table.add_row(first, *cells)
    return table
