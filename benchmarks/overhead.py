"""Everything that isn't training: starting, waiting, bookkeeping, memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import bookkeeping, images, memory, processes, shares, startup, studies
from benchmarks.figures import Spread, clock, slope
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep.home import Home

NAME = "overhead"
_MB = 1e6
_WARM_TRIALS = 20

Found = Mapping[str, Any]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "train_images": options.pick(options.train_images, 48_000, 500),
        "epochs": options.pick(options.epochs, 5, 1),
        "short_sweep_trials": options.pick(options.trials, 10, 2),
        "bookkeeping_at": [50, 2_000] if not options.quick else [15, 40],
        "memory_trials": 200 if not options.quick else 4,
    }


def run(options: Options, record: Record) -> Result:
    """Measures part by part."""
    chosen = settings(options)
    times = options.pick(options.repeats, 5, 1)
    folder = options.out / NAME
    helps = [record.once(f"help {turn}", lambda: {"s": startup.help_s()})["s"] for turn in range(2 * times)]
    steps = [
        record.once(f"first step {turn}", lambda: startup.first_step(options, folder / "first-step"))
        for turn in range(times)
    ]
    studied = {
        f"{chosen['short_sweep_trials']} trials, command and all": record.once(
            "short sweep", lambda: _short_sweep(options, chosen)
        )
    }
    if options.home is not None:
        events = studies.read(options, folder)
        of = next(event.body for event in events if event.kind == "study")
        name = f"study {of['name']} ({of['machine']}, commit {of['git_commit'][:12] or 'unknown'})"
        studied[name] = {"shares": shares.of_events(events).to_dict()}
    books = record.once("bookkeeping", lambda: _bookkeeping(options, chosen["bookkeeping_at"]))
    remembered = record.once("memory", lambda: memory.measure(options, folder / "memory", chosen["memory_trials"]))
    return Result(
        name=NAME,
        about="What a study costs beside its training; n and the way it was measured stand with each table.",
        figures={
            "help_s": Spread.of(helps).to_dict(),
            "first_step": list(map(dict, steps)),
            "studies": studied,
            "bookkeeping": dict(books)
            | {"growth": {sort: growths(books["seconds"], sort) for sort in ("wall", "cpu")}},
            "memory": dict(remembered),
        },
        tables=(_starts(helps, steps), _shares(studied), _books(books), _memory(remembered)),
        quick=options.quick,
    )


def _short_sweep(options: Options, chosen: Found) -> dict[str, Any]:
    folder = options.out / NAME / "short-sweep"
    home = Home(folder / f"home-{time.strftime('%Y%m%d-%H%M%S')}")
    words = ["fmnist_sweep", "run", "--sweep", "default", "--no-lab", "--home", str(home.path.resolve()), "--json"]
    words += ["--trials", str(chosen["short_sweep_trials"]), "--train-images", str(chosen["train_images"])]
    words += ["--epochs", str(chosen["epochs"]), *startup.data_words(options)]
    ran = processes.run(words, folder)
    events = studies.events(home.study(json.loads(ran.stdout)["study"]).ledger)
    return {"wall_s": ran.wall_s, "driver_cpu_s": ran.cpu_s, "shares": shares.of_events(events, ran.wall_s).to_dict()}


def _bookkeeping(options: Options, at: Sequence[int]) -> dict[str, Any]:
    folder = options.out / NAME / f"bookkeeping-{time.strftime('%Y%m%d-%H%M%S')}"
    data = images.prepared(options, 48_000)
    return bookkeeping.measure(images.source(options), data, folder, at, lambda line: print(line, file=sys.stderr))


Windows = Mapping[str, Mapping[str, Mapping[str, float]]]


def growths(seconds: Windows, sort: str) -> dict[str, float]:
    """By what time was spent on: how many times as long the last window's trials took as the first's.

    Args:
        seconds: See ``Stopwatch.per_trial``.
        sort: ``wall`` or ``cpu``.
    """
    first, *_, last = _in_order(seconds).values()
    both = [what for what in first if what in last]
    return {"all": _whole(last, sort) / _whole(first, sort)} | {
        what: last[what][sort] / first[what][sort] for what in both
    }


def _in_order(seconds: Windows) -> Windows:
    """By trial; a record has names in the alphabet's order."""
    return {at: seconds[at] for at in sorted(seconds, key=int)}


def _starts(helps: Sequence[float], steps: Sequence[Found]) -> Table:
    rows = [("--help", f"{len(helps)}", Spread.of(helps).text(".2f"))]
    for figure, what in (
        ("started_s", "run: the first worker is being forked"),
        ("first_step_s", "run: the first training step, at the latest"),
        ("ended_s", "run: the only trial has ended (2 epochs of 2,000 images)"),
        ("whole_s", "run: the command has ended, views delivered, model logged"),
        ("cpu_s", "run: processor seconds of the driver alone"),
    ):
        rows.append((what, f"{len(steps)}", Spread.of(step[figure] for step in steps).text(".2f")))
    return Table(
        "Seconds from the command to ...",
        ("moment", "n", "seconds"),
        tuple(rows),
        "Each in a fresh process with a new home; files in the disk cache. Median (quartiles). No event tells of the "
        "first step: it is reckoned back from the first report, by the training and scoring that it tells of, which "
        "makes it too late rather than too early.",
    )


def _shares(studied: Mapping[str, Found]) -> Table:
    rows = []
    for name, found in studied.items():
        of = found["shares"]
        cpu = found.get("driver_cpu_s")
        rows.append(
            (
                name,
                clock(of["wall_s"]),
                f"{of['workers']:g}",
                *(f"{100 * of[f'{part}_share']:.1f} %" for part in shares.PARTS),
                f"{100 * of['not_training']:.1f} %",
                "" if cpu is None else f"{cpu:.1f} s",
            )
        )
    return Table(
        "Where the workers' time goes",
        ("study", "time", "workers", *shares.PARTS, "not training or scoring", "driver's CPU"),
        tuple(rows),
        "From the ledger, n=1 study each; of one that was run here the time is the command's. Shares of workers x "
        "time. score: on the 12,000 images for validation. start: from a worker's start to its first report, all "
        "but training and scoring (process, data, net, graphs). tell: the same between two reports (checkpoint, the "
        "driver's answer). lost: cut short by an interruption, and trained again. tail: no job any more, while the "
        "other workers train the last nets. idle: no job besides that, as while the command starts and ends. Not "
        "training or scoring: all but train, score and tail. In ledgers of older releases building the graphs is "
        "part of training and scoring.",
    )


def _books(books: Found) -> Table:
    seconds = _in_order(books["seconds"])
    wall, cpu = growths(seconds, "wall"), growths(seconds, "cpu")
    rows = []
    for what in wall:
        cells = []
        for sort, growth in (("wall", wall), ("cpu", cpu)):
            spent = [_whole(of, sort) if what == "all" else of[what][sort] for of in seconds.values()]
            cells += [f"{1000 * one:.1f}" for one in spent] + [f"{growth[what]:.2f}"]
        rows.append((what, *cells))
    at = [f"at trial {trial}" for trial in seconds]
    return Table(
        "Bookkeeping: milliseconds a trial, by the clock and of the processor",
        ("what", *at, "growth", *(f"CPU {one}" for one in at), "growth of CPU"),
        tuple(rows),
        f"The default sweep with a trainer that takes no time; its own sampler, ledger, MLflow and Optuna in local "
        f"SQLite; means "
        f"of {2 * bookkeeping.HALF_WINDOW} trials around each, driver and views measured apart. {books['trials']} "
        f"trials and {books['events']:,} events took {clock(books['wall_s'])}.",
    )


def _whole(of: Mapping[str, Mapping[str, float]], sort: str) -> float:
    return sum(spent[sort] for what, spent in of.items() if what not in bookkeeping.PARTS_OF_DRIVER)


def _memory(found: Found) -> Table:
    rows = []
    for name, samples, unit in (
        ("worker, at its most", found["worker_peak_bytes"], "trial"),
        ("driver", found["driver_bytes"], "trial ended"),
        ("fork server", found["server_bytes"], "trial ended"),
    ):
        if not samples:
            continue
        warm = [(trial, bytes_ / _MB) for trial, bytes_ in samples if trial >= _WARM_TRIALS] or [
            (trial, bytes_ / _MB) for trial, bytes_ in samples
        ]
        trials, megabytes = zip(*sorted(warm), strict=True)
        tenth = max(len(warm) // 10, 1)
        first, last = Spread.of(megabytes[:tenth]), Spread.of(megabytes[-tenth:])
        rise, error = slope(trials, megabytes) if len(set(trials)) > 2 else (0.0, 0.0)
        rows.append(
            (
                name,
                f"{len(warm)}",
                first.text(".0f"),
                last.text(".0f"),
                f"{1000 * rise:+.0f} ± {1000 * error:.0f} kB",
                unit,
            )
        )
    return Table(
        "Memory over many short trials of one net, in MB",
        ("process", "n", "first tenth", "last tenth", "slope", "by"),
        tuple(rows),
        f"Resident memory from trial {_WARM_TRIALS} on; slope by least squares with its standard error. "
        f"{found['trials']['target']} trials took {clock(found['wall_s'])}, "
        f"{found['driver_cpu_s']:.1f} processor seconds of it the driver's. A worker that trained "
        f"{found['largest']['net']} ({found['largest']['parameters']:,} parameters) used "
        f"{found['largest']['peak_bytes'] / _MB:,.0f} MB at its most.",
    )
