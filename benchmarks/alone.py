"""What all cores are worth to a net that trains alone, as the last one of a study does: each way in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import images, workers
from benchmarks.figures import Spread, geometric_mean
from benchmarks.layers import drawn
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.executors import limits
from fmnist_sweep.trial import TrialJob

NAME = "alone"
_POINTS = (0.1, 1.0)
_WAYS = ("one", "all")


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "nets": options.pick(options.trials, 14, 2),
        "images": options.pick(options.train_images, 9_600, 320),
    }


def run(options: Options, record: Record) -> Result:
    """Trains each net for two stretches each way, the first of which does not count."""
    chosen, rounds = settings(options), options.pick(options.repeats, 3, 1)
    folder = options.out / NAME
    data = images.prepared(options, chosen["images"])
    nets = drawn("default", chosen["nets"])
    found: list[dict[str, list[float]]] = [{way: [] for way in _WAYS} for _ in nets]
    for turn in range(rounds):
        for place, (arch, train) in enumerate(nets):
            for way in _WAYS:
                key = f"net-{place}-{way}-{turn}"
                job = TrialJob(key, arch, replace(train, epochs=1), _POINTS, data, folder / key)

                def measure(job: TrialJob = job, way: str = way) -> dict[str, float]:
                    log = folder / "workers.log"
                    heard = workers.train([job], log=log, workers=limits.cpus(), alone=way == "all")[job.key]
                    first, second = (heard.at(point) for point in _POINTS)
                    return {"s": (second.train_s - first.train_s) / (second.images - first.images)}

                found[place][way].append(record.once(key, measure)["s"])
    return summed_up([arch for arch, _ in nets], found, rounds, quick=options.quick)


def summed_up(
    nets: Sequence[ArchSpec], found: Sequence[Mapping[str, Sequence[float]]], rounds: int, *, quick: bool
) -> Result:
    """Images by second each way, the quickest nets first, and the ratios of each round.

    Args:
        nets: That were trained.
        found: Of each, by way, seconds for one image in each round.
        rounds: How many.
        quick: See ``Result``.
    """
    rows, medians = [], []
    ranked = sorted(zip(nets, found, strict=True), key=lambda it: min(it[1]["one"]))
    for arch, ways in ranked:
        ratio = Spread.of(one / both for one, both in zip(ways["one"], ways["all"], strict=True))
        medians.append(ratio.median)
        rates = [Spread.of(1 / s for s in ways[way]).text() for way in _WAYS]
        rows.append((arch.short, *rates, ratio.text(".2f")))
    mean = geometric_mean(medians)
    return Result(
        name=NAME,
        about=(
            f"Training images by second of a worker that is alone, n={rounds} rounds in turns: median (quartiles). "
            "One core: pinned, one thread, as beside other workers. All: two operations at a time on all cores, as the "
            "last trial of a study."
        ),
        figures={
            "ratios": dict(zip((arch.short for arch, _ in ranked), medians, strict=True)),
            "geometric_mean": mean,
        },
        tables=(
            Table(
                "Images by second",
                ("net", "one core", "all", "all / one"),
                (*rows, ("geometric mean", "", "", f"{mean:.2f}")),
            ),
        ),
        quick=quick,
    )
