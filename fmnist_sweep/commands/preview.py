"""``preview``: what a sweep would train, and what that would cost, without training."""

from __future__ import annotations

import itertools
import math
import shlex
from contextlib import suppress
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmnist_sweep import arithmetic, estimate, space, study
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.commands import closing
from fmnist_sweep.data import Facts, facts_of
from fmnist_sweep.display import clock
from fmnist_sweep.estimate import Forecast, Pace
from fmnist_sweep.executors.local import auto_workers
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord
from fmnist_sweep.study import Plan

_LISTED_UP_TO = 2_000
_DRAWS = 400


def preview(settings: Settings, trials: int | None, samples: int, console: Console) -> dict[str, Any]:
    """Draws from a sweep's space; see the command line's ``preview``."""
    planned = study.plan(settings)
    target = trials or planned.config.study.trials
    pace = pace_of(settings)
    workers = expected_workers(settings)
    facts = facts_of(planned.config.data, settings.data_dir)
    expected = forecast(planned, target, workers, pace, facts)
    nets = [_describe(arch, train, pace, facts.train_limit) for arch, train in expected.nets[:samples]]
    found = {
        "sweep": planned.sweep,
        "title": planned.config.title,
        "configurations": _count(planned, facts),
        "over_limits": round(expected.over_limits, 4),
        "largest_bytes": expected.largest_bytes,
        "trials": target,
        "nets": nets,
        "estimate": {
            "total_s": round(expected.trials_s + expected.lab_s),
            "trials_s": round(expected.trials_s),
            "lab_s": round(expected.lab_s),
            "workers": workers,
            "measured_on_trials": pace.trials,
        },
    }
    _show(found, console)
    console.print(Text(f"\nNext:\n  {_following(settings, target)}"), soft_wrap=True)
    return found


def _following(settings: Settings, target: int) -> str:
    """The command that runs what was shown."""
    given = {
        "--sweep": settings.sweep,
        "--data-dir": "" if settings.data_dir is None else str(settings.data_dir),
        "--seed": settings.seed,
        "--epochs": settings.epochs,
        "--train-images": settings.train_images,
        "--workers": settings.workers or "",
    }
    options = [f"{option} {shlex.quote(str(value))}" for option, value in given.items() if value not in ("", None)]
    return " ".join([f"{closing.PROGRAM} run{closing.at_home(settings)}", *options, f"--trials {target}"])


def forecast(planned: Plan, target: int, workers: int, pace: Pace, facts: Facts) -> Forecast:
    """See ``estimate.forecast``."""
    return estimate.forecast(
        planned.config,
        target,
        workers,
        pace,
        images=facts.train_limit,
        input_shape=facts.image_shape,
        classes=facts.classes,
        seed=planned.seed,
    )


def pace_of(settings: Settings) -> Pace:
    """This machine's pace: from the trials of every study under home, or from a probe where there are none."""
    jobs: list[JobRecord] = []
    for name in settings.home.studies():
        with suppress(Exception):  # damaged, only just begun, a newer release's: no reason to stop
            jobs += study.read(settings, name).jobs.values()
    found = Pace.of(jobs)
    return found if found.trials else Pace.probed()


def _count(planned: Plan, facts: Facts) -> dict[str, Any]:
    """How many configurations there are: counted where they are few, else estimated.

    The estimate is Knuth's (Estimating the efficiency of backtrack programs, 1975): the mean, over
    random walks, of the product of the numbers of choices met.
    """
    shape, classes = facts.image_shape, facts.classes
    try:
        every = space.configurations(planned.config, input_shape=shape, classes=classes, seed=planned.seed)
        first = list(itertools.islice(every, _LISTED_UP_TO + 1))
        if len(first) <= _LISTED_UP_TO:
            return {"count": len({fingerprint(arch, train) for arch, train, _ in first}), "exact": True}
        sizes = []
        for turn in range(_DRAWS):
            counter = space.Sizes(f"count-{turn}")
            space.sample(planned.config, counter, input_shape=shape, classes=classes)
            sizes.append(math.prod(counter.sizes))
    except space.Endless:
        return {"count": None, "exact": False}
    return {"count": round(mean(sizes)), "exact": False}


def _describe(arch: ArchSpec, train: TrainSpec, pace: Pace, images: int) -> dict[str, Any]:
    cost = arithmetic.cost(arch)
    return {
        "net": arch.short,
        "parameters": cost.parameters,
        "flops": cost.flops,
        "memory_bytes": cost.training_bytes(train),
        "epoch_s": round(pace.factor * arithmetic.image_s(arch, train) * images, 1),
    }


def _show(found: dict[str, Any], console: Console) -> None:
    console.print(Text.assemble((found["sweep"], "bold"), f": {found['title']}"))
    count = found["configurations"]
    many = "endlessly many" if count["count"] is None else f"{count['count']:,}"
    about = "" if count["exact"] or count["count"] is None else "about "
    over = f"{found['over_limits']:.0%} of what is drawn is over the sweep's limits"
    console.print(
        f"{about}{many} configurations; {over if found['over_limits'] else 'none is over a limit'}", highlight=False
    )
    console.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("net", overflow="fold")
    for name in ("parameters", "MFLOP", "memory", "an epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for net in found["nets"]:
        table.add_row(
            net["net"],
            f"{net['parameters']:,}",
            f"{net['flops'] / 1e6:.1f}",
            f"{net['memory_bytes'] / 1e6:.0f} MB",
            clock(net["epoch_s"]),
        )
    console.print(table)
    told = "FLOPs of one image forward; memory to train, TensorFlow's own left out; an epoch on one core"
    console.print(Text(told, style="dim"))
    cost = found["estimate"]
    parts = sorted([("the trials", cost["trials_s"]), ("the lab's nets", cost["lab_s"])], key=lambda part: -part[1])
    console.print()
    said = sentence(found["trials"], cost["total_s"], cost["workers"], cost["measured_on_trials"])
    console.print(f"{said}. {' and '.join(f'{clock(spent)} for {what}' for what, spent in parts)}.", highlight=False)


def expected_workers(settings: Settings) -> int:
    """With how many workers to reckon: one on a cluster that runs already, as its size is not known yet."""
    if settings.workers:
        return settings.workers
    return 1 if settings.ray_address else auto_workers()


def sentence(trials: int, total_s: float, workers: int, measured_on: int, with_lab: bool = True) -> str:
    """What a sweep is expected to take, and how that is known."""
    basis = (
        f"from the pace of {measured_on} nets trained here"
        if measured_on
        else "from a short probe of this machine; better once something was trained here"
    )
    nets = f"{trials} trials" + (" and the lab's nets" if with_lab else "")
    return f"{nets}: about {clock(total_s)} with {workers} worker{'s' * (workers != 1)} ({basis})"
