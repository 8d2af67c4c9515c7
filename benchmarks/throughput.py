"""Training itself: two pinned workers of the product beside Keras' ``fit`` with all threads, in turns.

Both do the same arithmetic: same nets, Adam, batch 32, float32. Each side trains one epoch that is not counted, in
which processes start and fit traces its graphs, and then the epochs that are. Scoring is left out on both sides,
and told by itself; what a start costs is the business of ``overhead``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import images, processes, workers
from benchmarks.figures import Difference, Spread, geometric_mean
from benchmarks.options import Options
from benchmarks.peers.task import PeerTask
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from benchmarks.workers import Heard
from fmnist_sweep import lab
from fmnist_sweep.data import PreparedData
from fmnist_sweep.pruning import report_points
from fmnist_sweep.trial import TrialJob

NAME = "throughput"
NETS = ("lab-cnn1", "lab-cnn3", "lab-cnn3-bn-as-intended")
OURS, FIT, ONE, STEPS = "two workers", "fit", "one worker", "fit, 50 steps a call"
_CONTENDERS = (OURS, FIT, ONE, STEPS)
_STEPS = 50

Measured = dict[str, Any]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "train_images": options.pick(options.train_images, 48_000, 1_600),
        "epochs": options.pick(options.epochs, 1, 1),
    }


def run(options: Options, record: Record) -> Result:
    """Measures in turns, net by net and round by round, and sums up."""
    chosen = settings(options)
    data = images.prepared(options, chosen["train_images"])
    nets = options.nets or (NETS[:1] if options.quick else NETS)
    rounds = options.pick(options.repeats, 5, 1)
    folder = options.out / NAME
    for turn in range(rounds):
        for net in nets:
            for contender in _CONTENDERS:
                measure = _measure(contender, net, turn, data, chosen["epochs"], folder)
                record.once(key(net, contender, turn), measure)
    found = {
        (net, contender): [record.once(key(net, contender, turn), dict) for turn in range(rounds)]
        for net in nets
        for contender in _CONTENDERS
    }
    return summed_up(found, nets, chosen, options.quick)


def key(net: str, contender: str, turn: int) -> str:
    """Names a measurement."""
    return f"{net}, {contender}, round {turn}"


def _measure(
    contender: str, net: str, turn: int, data: PreparedData, epochs: int, folder: Path
) -> Callable[[], Measured]:
    if contender in (OURS, ONE):
        count = 2 if contender == OURS else 1
        return lambda: by_workers(net, [count * turn + place for place in range(count)], data, epochs, folder)
    return lambda: by_fit(net, turn, data, epochs, folder, _STEPS if contender == STEPS else 1)


def by_workers(net: str, seeds: Sequence[int], data: PreparedData, epochs: int, folder: Path) -> Measured:
    """One job on each worker at the same time, until all have trained the epochs that count.

    A worker that is there first trains on meanwhile, so that the others are measured beside it.
    """
    last = 1 + epochs
    jobs = [_job(net, seed, data, last + 1, folder) for seed in seeds]
    try:
        heard = workers.train(
            jobs,
            log=folder / "workers.log",
            workers=2,
            enough=lambda found: all(job.epoch >= last for job in found.values()),
        )
    finally:
        for job in jobs:
            job.checkpoint.unlink(missing_ok=True)
    return of_workers(heard, data.train_images, epochs)


def of_workers(heard: Mapping[str, Heard], train_images: int, epochs: int) -> Measured:
    """Images by second of all workers together, and the accuracy of each."""
    last, passed = 1 + epochs, epochs * train_images
    train_s = [job.at(last).train_s - job.at(1).train_s for job in heard.values()]
    whole_s = [job.came(last) - job.came(1) for job in heard.values()]
    return {
        "images_per_s": sum(passed / seconds for seconds in train_s),
        "images_per_s_with_scoring": sum(passed / seconds for seconds in whole_s),
        "val_accuracy": [job.at(last).val_accuracy for job in heard.values()],
    }


def _job(net: str, seed: int, data: PreparedData, epochs: int, folder: Path) -> TrialJob:
    (variant,) = lab.variants([net], input_shape=data.image_shape, classes=data.classes, epochs=epochs, seed=seed)
    name = f"{net}-{seed}"
    return TrialJob(name, variant.arch, variant.train, report_points(epochs, ()), data, folder / "jobs" / name)


def by_fit(net: str, seed: int, data: PreparedData, epochs: int, folder: Path, steps: int) -> Measured:
    """Keras' ``fit`` in a fresh process, with as many threads as TensorFlow takes by itself."""
    place = folder / "fit"
    PeerTask.of(data, trials=1, epochs=1 + epochs, seed=seed).write(place)
    ran = processes.run(["benchmarks.peers.plain_fit", str(place.resolve()), net, str(steps)], place)
    return of_fit(json.loads(ran.stdout.splitlines()[-1])["epochs"], data.train_images)


def of_fit(epochs: Sequence[Mapping[str, float]], train_images: int) -> Measured:
    """The same figures as ``of_workers`` has."""
    counted = epochs[1:]
    train_s = sum(epoch["train_s"] for epoch in counted)
    return {
        "images_per_s": len(counted) * train_images / train_s,
        "images_per_s_with_scoring": len(counted) * train_images / sum(epoch["whole_s"] for epoch in counted),
        "val_accuracy": [epochs[-1]["val_accuracy"]],
    }


def summed_up(
    found: Mapping[tuple[str, str], Sequence[Measured]],
    nets: Sequence[str],
    chosen: Mapping[str, Any],
    quick: bool,
) -> Result:
    """The tables: speed, ratios with their geometric mean, accuracies."""
    speeds, ratios = _speeds(found, nets)
    rounds = len(found[nets[0], OURS])
    return Result(
        name=NAME,
        about=(
            f"Training images by second, n={rounds} rounds in turns: median (quartiles). Counted: {chosen['epochs']} "
            f"epoch(s) of {chosen['train_images']:,} images after one that is not. {OURS}: two jobs on two pinned "
            f"single-thread workers at the same time, added up. {FIT}: Keras' fit on float32 arrays in a fresh "
            f"process, all threads. {STEPS}: fit with steps_per_execution={_STEPS}."
        ),
        figures={
            **ratios,
            "images_per_s": {key_of(pair): _speed(all_).to_dict() for pair, all_ in found.items()},
            "accuracy": {net: _agreement(found[net, OURS], found[net, FIT]).to_dict() for net in nets},
            "rounds": {key_of(pair): list(all_) for pair, all_ in found.items()},
        },
        tables=(speeds, _accuracies(found, nets, chosen["epochs"] + 1)),
        quick=quick,
    )


def _speeds(found: Mapping[tuple[str, str], Sequence[Measured]], nets: Sequence[str]) -> tuple[Table, dict[str, Any]]:
    """The table of speeds, and the ratios in it for programs."""
    rows, ratios, scored = [], {}, {}
    for net in nets:
        ours, theirs = found[net, OURS], found[net, FIT]
        ratios[net] = _speed(ours).median / _speed(theirs).median
        by_round = _ratios(ours, theirs, "images_per_s")
        scored[net] = _ratios(ours, theirs, "images_per_s_with_scoring").median
        speeds = (_speed(found[net, contender]).text() for contender in _CONTENDERS)
        quartiles = f"{by_round.low:.2f} to {by_round.high:.2f}"
        rows.append((net, *speeds, f"{ratios[net]:.2f}", quartiles, f"{scored[net]:.2f}"))
    mean, with_scoring = (geometric_mean(list(of.values())) for of in (ratios, scored))
    rows.append(("geometric mean", *[""] * len(_CONTENDERS), f"{mean:.2f}", "", f"{with_scoring:.2f}"))
    columns = ("net", *_CONTENDERS, f"{OURS} / {FIT}", "quartiles of rounds", "with scoring")
    figures = {
        "ratio": ratios,
        "ratio_geometric_mean": mean,
        "ratio_with_scoring": scored,
        "ratio_with_scoring_geometric_mean": with_scoring,
    }
    return Table("Images by second", columns, tuple(rows)), figures


def _speed(measured: Sequence[Measured]) -> Spread:
    return Spread.of(one["images_per_s"] for one in measured)


def key_of(pair: tuple[str, str]) -> str:
    """A net and a contender in one word for JSON."""
    return ", ".join(pair)


def _ratios(ours: Sequence[Measured], theirs: Sequence[Measured], figure: str) -> Spread:
    return Spread.of(a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True))


def _accuracy(measured: Sequence[Measured]) -> list[float]:
    return [value for one in measured for value in one["val_accuracy"]]


def _agreement(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Difference:
    """Difference of the mean accuracies, and the luck of the seeds that it has to be seen against."""
    return Difference.of(_accuracy(ours), _accuracy(theirs))


def _accuracies(found: Mapping[tuple[str, str], Sequence[Measured]], nets: Sequence[str], epochs: int) -> Table:
    rows = []
    for net in nets:
        ours, theirs = _accuracy(found[net, OURS]), _accuracy(found[net, FIT])
        rows.append((net, *map(_mean, (ours, theirs)), _agreement(found[net, OURS], found[net, FIT]).text(scale=100)))
    return Table(
        f"Validation accuracy after {epochs} epochs, in percent",
        ("net", OURS, FIT, "difference, points"),
        tuple(rows),
        "Mean, standard deviation over seeds, number of trainings; the difference with its standard error.",
    )


def _mean(values: Sequence[float]) -> str:
    spread = f", sd {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}, n={len(values)}"
