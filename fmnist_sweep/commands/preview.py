"""``preview``: what a sweep would train, and what that would cost, without training."""

from __future__ import annotations

import itertools
import math
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from fmnist_sweep import arithmetic, estimate, lab, space, study
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.display import clock
from fmnist_sweep.driver import excess
from fmnist_sweep.estimate import Pace
from fmnist_sweep.settings import Settings
from fmnist_sweep.study import Plan

_LISTED_UP_TO = 2_000
_DRAWS = 400


def preview(settings: Settings, trials: int | None, samples: int, console: Console) -> dict[str, Any]:
    """Draws from a sweep's space; see the command line's ``preview``."""
    planned = study.plan(settings)
    target = trials or planned.config.study.trials
    drawn = [_draw(planned, turn) for turn in range(_DRAWS)]
    fitting = [(arch, train) for arch, train in drawn if excess(arch, planned.config.limits) <= 0]
    pace = _pace(settings)
    nets = [_describe(arch, train, pace, planned) for arch, train in (fitting or drawn)[:samples]]
    found = {
        "sweep": planned.sweep,
        "title": planned.config.title,
        "configurations": _count(planned),
        "over_limits": round(1 - len(fitting) / len(drawn), 4),
        "trials": target,
        "nets": nets,
        "estimate": _estimate(settings, planned, fitting or drawn, target, pace),
    }
    _show(found, console)
    return found


def _draw(planned: Plan, turn: int) -> tuple[ArchSpec, TrainSpec]:
    return space.sample(
        planned.config,
        space.RandomSuggest(f"{planned.seed}-{turn}"),
        input_shape=FASHION_MNIST.image_shape,
        classes=len(FASHION_MNIST.class_names),
        seed=planned.seed,
    )


def _count(planned: Plan) -> dict[str, Any]:
    """How many configurations there are: counted where they are few, else estimated.

    The estimate is Knuth's (Estimating the efficiency of backtrack programs, 1975): the mean, over
    random walks, of the product of the numbers of choices met.
    """
    shape, classes = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)
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


def _pace(settings: Settings) -> Pace:
    """This machine's pace, from the trials of every study under home."""
    from fmnist_sweep.commands.export import read

    jobs = [job for name in settings.home.studies() for job in read(settings, name).jobs.values()]
    return Pace.of(jobs)


def _describe(arch: ArchSpec, train: TrainSpec, pace: Pace, planned: Plan) -> dict[str, Any]:
    cost = arithmetic.cost(arch)
    images = planned.config.data.train_images or FASHION_MNIST.train_limit
    return {
        "net": arch.short,
        "parameters": cost.parameters,
        "flops": cost.flops,
        "memory_bytes": cost.training_bytes(train),
        "epoch_s": round(pace.factor * estimate.image_s(arch, train) * images, 1),
    }


def _estimate(
    settings: Settings, planned: Plan, nets: list[tuple[ArchSpec, TrainSpec]], target: int, pace: Pace
) -> dict[str, Any]:
    from fmnist_sweep.executors.local import auto_workers

    images = planned.config.data.train_images or FASHION_MNIST.train_limit
    workers = settings.workers or auto_workers()
    epoch_s = pace.factor * images * mean(estimate.image_s(arch, train) for arch, train in nets)
    trials_s = epoch_s * estimate.epochs_of_all(planned.config, target)
    variants = lab.variants(
        planned.config.lab.variants,
        input_shape=FASHION_MNIST.image_shape,
        classes=len(FASHION_MNIST.class_names),
        epochs=settings.epochs or min(lab.PROTOCOL.epochs, planned.config.epochs),
    )
    different = {fingerprint(variant.arch, variant.train): variant for variant in variants}.values()
    lab_s = pace.factor * sum(
        estimate.image_s(variant.arch, variant.train) * images * variant.train.epochs for variant in different
    )
    return {
        "total_s": round((trials_s + lab_s) / workers),
        "trials_s": round(trials_s / workers),
        "lab_s": round(lab_s / workers),
        "workers": workers,
        "measured_on_trials": pace.trials,
    }


def _show(found: dict[str, Any], console: Console) -> None:
    console.print(f"[bold]{found['sweep']}[/]: {found['title']}", highlight=False)
    count = found["configurations"]
    many = "endlessly many" if count["count"] is None else f"{count['count']:,}"
    about = "" if count["exact"] or count["count"] is None else "about "
    console.print(f"{about}{many} configurations; {found['over_limits']:.0%} over the sweep's limits", highlight=False)
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
    cost = found["estimate"]
    basis = (
        f"the pace of {cost['measured_on_trials']} nets trained here"
        if cost["measured_on_trials"]
        else "a guess until something was trained here"
    )
    main = "the trials" if cost["trials_s"] >= cost["lab_s"] else "the lab's nets"
    console.print(
        f"{found['trials']} trials and the lab's nets: about {clock(cost['total_s'])} with {cost['workers']} workers "
        f"({basis}), most of it for {main}",
        highlight=False,
    )
