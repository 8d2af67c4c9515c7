"""What the design does at 100 workers and 100,000 trials: ledgers of that size, and the driver going on with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import ledgers, simulated
from benchmarks.figures import clock
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep import config as sweeps
from fmnist_sweep import proposers, summary
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST
from fmnist_sweep.driver import Driver
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Past, Task
from fmnist_sweep.proposers.base import Excess
from fmnist_sweep.state import StudyState

NAME = "scale"
WORKERS = 100
_MB = 1e6
T = TypeVar("T")


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "sizes": [20, 60] if options.quick else [1_000, 10_000, 100_000],
        "more_trials": options.pick(options.trials, 300, 10),
        "workers": WORKERS,
    }


def run(options: Options, record: Record) -> Result:
    """Measures size by size."""
    chosen = settings(options)
    folder = options.out / NAME
    sizes = {
        size: record.once(f"size {size}", lambda size=size: at_size(folder, size, chosen["more_trials"]))  # type: ignore[misc]
        for size in chosen["sizes"]
    }
    return Result(
        name=NAME,
        about="The product's driver, ledger, pruning and sampler with workers that train in no time; each size is "
        "measured at that size, on a ledger written for it.",
        figures={str(size): dict(found) for size, found in sizes.items()},
        tables=(_sizes(sizes, chosen["more_trials"]),),
        quick=options.quick,
    )


def at_size(folder: Path, trials: int, more: int) -> dict[str, Any]:
    """What a study of so many trials costs: to open, to look at, and to go on with for ``more`` trials."""
    print(f"scale: {trials:,} trials", file=sys.stderr)
    study = StudyFolder(folder / f"{trials}-{time.strftime('%Y%m%d-%H%M%S')}")
    study.path.mkdir(parents=True)
    task = _task()
    events = ledgers.write(study.ledger, task, trials)
    found: dict[str, Any] = {"events": events, "bytes": study.ledger.stat().st_size}
    with closing(_timed(found, "open_s", lambda: Ledger(study.ledger))) as ledger:
        _look(found, ledger)
        for engine in ("random", "tpe"):
            found[engine] = _go_on(ledger, study, task, engine, more)
    study.ledger.unlink()
    return found


def _look(found: dict[str, Any], ledger: Ledger) -> None:
    """Notes what it takes to read the ledger, to fold it, and to show what a study stands at."""
    past = _timed(found, "read_s", ledger.events)
    state = _timed(found, "fold_s", lambda: StudyState.of(past))
    _timed(found, "look_s", lambda: (summary.rows(state), summary.counts(state)))


def _timed(found: dict[str, Any], name: str, function: Callable[[], T]) -> T:
    """Calls a function and notes the processor seconds."""
    began = time.process_time()
    value = function()
    found[name] = time.process_time() - began
    return value


class _Clocked:
    """A proposer whose processor time is counted apart."""

    def __init__(self, proposer: proposers.Proposer) -> None:
        self._proposer, self.spent = proposer, 0.0

    def ask(self, past: Sequence[Past], excess: Excess) -> Any:
        began = time.process_time()
        proposal = self._proposer.ask(past, excess)
        self.spent += time.process_time() - began
        return proposal


def _go_on(ledger: Ledger, study: StudyFolder, task: Task, sampler: str, more: int) -> dict[str, float]:
    """Processor seconds of the driver for one more trial; the first round, which takes the past in, is apart."""
    changed = task.config.study.model_copy(update={"sampler": sampler})
    task = Task(task.config.model_copy(update={"study": changed}), task.input_shape, task.classes, task.seed)
    proposer = _Clocked(proposers.make(task))
    driver = Driver(
        ledger=ledger,
        task=task,
        data=simulated.nothing(task),
        folder=study,
        proposer=proposer,
        executor=simulated.Simulated(WORKERS),
    )
    known = len(driver.state.trials())
    began = time.process_time()
    driver.run(known + WORKERS)
    first, proposer.spent = time.process_time() - began, 0.0
    events, began = ledger.last(), time.process_time()
    driver.run(known + WORKERS + more)
    spent = time.process_time() - began
    return {
        "taking_in_s": first,
        "driver_ms": 1000 * (spent - proposer.spent) / more,
        "proposer_ms": 1000 * proposer.spent / more,
        "events_per_trial": (ledger.last() - events) / more,
    }


def _task() -> Task:
    facts = FASHION_MNIST
    return Task(sweeps.load("default")[1], facts.image_shape, len(facts.class_names), 0)


def _sizes(sizes: dict[int, Any], more: int) -> Table:
    rows = []
    for size, found in sizes.items():
        random, tpe = found["random"], found["tpe"]
        rows.append(
            (
                f"{size:,}",
                f"{found['bytes'] / _MB:,.1f} MB",
                *(f"{found[name]:.2f} s" for name in ("open_s", "read_s", "fold_s", "look_s")),
                f"{tpe['taking_in_s']:.1f} s",
                f"{random['driver_ms']:.1f} ms",
                f"{random['proposer_ms']:.1f} ms",
                f"{tpe['proposer_ms']:.1f} ms",
                clock(WORKERS * (random["driver_ms"] + tpe["proposer_ms"]) / 1000),
            )
        )
    return Table(
        f"A study of so many trials, {WORKERS} workers",
        (
            "trials", "ledger", "open", "read", "fold", "look", "first 100",
            "driver, a trial", "random", "TPE", "shortest trial for 100 workers",
        ),
        tuple(rows),
        f"Processor time, n=1 each; driver and samplers: mean of {more} trials. Opening checks every page and sum; "
        "look: what status shows; first 100: the first trials of a driver that takes up the study, with its past. The "
        "last column: with shorter trials than that, the driver's one core can't keep 100 workers busy.",
    )  # fmt: skip
