"""How noisy is a score? The same nets under several seeds: after the last step, and over the last steps.

A rung can't order nets that differ by less than two runs of the same net do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks import images, workers
from benchmarks.figures import geometric_mean
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from benchmarks.workers import Heard
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.data import PreparedData
from fmnist_sweep.trial import Report, TrialJob

NAME = "noise"
POINTS = (0.25, 0.5, 1.0)
KINDS = ("last", "steady")
_DROPPED = (BlockSpec(32, dropout=0.25), BlockSpec(64, dropout=0.25))
_THREE = (BlockSpec(32), BlockSpec(64), BlockSpec(64))


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "seeds": options.pick(options.seeds, 6, 2),
        "train_images": options.pick(options.train_images, 48_000, 640),
    }


def nets(data: PreparedData) -> tuple[ArchSpec, ...]:
    """Nets of several kinds: wide and shallow, deep, with dropout, with BatchNorm on either side."""
    shape, classes = data.image_shape, data.classes
    return (
        ArchSpec(shape, classes, (BlockSpec(64),), dense=(128,)),
        ArchSpec(shape, classes, (BlockSpec(32), BlockSpec(64), BlockSpec(128)), dense=(512,)),
        ArchSpec(shape, classes, _DROPPED, dense=(256,)),
        ArchSpec(shape, classes, _THREE, "before_activation", dense=(128,)),
        ArchSpec(shape, classes, _THREE, "after_activation", dense=(128,)),
    )


def run(options: Options, record: Record) -> Result:
    """Trains each net for an epoch under each seed."""
    chosen = settings(options)
    data = images.prepared(options, chosen["train_images"])
    folder = options.out / NAME
    wanted = [
        TrialJob(f"{arch.short} seed {seed}", arch, train, POINTS, data, folder / f"{place}-{seed}", steady_at=POINTS)
        for place, arch in enumerate(nets(data))
        for seed in range(1, chosen["seeds"] + 1)
        for train in [TrainSpec(epochs=1, seed=seed)]
    ]

    def ended(key: str, heard: Heard) -> None:
        record.add(key, scores_of(heard.reports))

    workers.train([job for job in wanted if record.known(job.key) is None], log=folder / "workers.log", ended=ended)
    found = {job.key: record.known(job.key) or {} for job in wanted}
    return summed_up(found, [arch.short for arch in nets(data)], chosen, quick=options.quick)


def scores_of(reports: Sequence[Report]) -> dict[str, list[float]]:
    """By kind, at each report point."""
    return dict(zip(KINDS, ([it.val_accuracy for it in reports], [it.standing for it in reports]), strict=True))


def summed_up(
    found: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str], chosen: dict[str, Any], *, quick: bool
) -> Result:
    """Mean and standard deviation over the seeds, by net and report point."""
    figures = {
        name: {kind: [_of_seeds(found, name, kind, place) for place in range(len(POINTS))] for kind in KINDS}
        for name in names
    }
    rows = []
    for name in names:
        cells = [
            f"{100 * average:.2f} ± {100 * spread:.2f}"
            for place in range(len(POINTS))
            for kind in KINDS
            for average, spread in [figures[name][kind][place]]
        ]
        rows.append((name, *cells))
    columns = [f"{point:g}, {what}" for point in POINTS for what in ("last step", "last steps")]
    ratios = [
        last[1] / steady[1]
        for of_net in figures.values()
        for last, steady in zip(*(of_net[kind] for kind in KINDS), strict=True)
        if steady[1]
    ]
    return Result(
        name=NAME,
        about=(
            f"Validation accuracy, in points, of each net under {chosen['seeds']} seeds: mean ± standard deviation. "
            "last step: by the weights after it; last steps: over many, which trials are compared by."
        ),
        figures={"nets": figures, "ratio_of_spreads": ratios},
        tables=(Table("Scores by epochs", ("net", *columns), tuple(rows)),),
        lines=(f"Geometric mean of the ratio of the two spreads: {geometric_mean(ratios):.1f}.",) if ratios else (),
        quick=quick,
    )


def _of_seeds(
    found: Mapping[str, Mapping[str, Sequence[float]]], name: str, kind: str, place: int
) -> tuple[float, float]:
    values = [one[kind][place] for key, one in found.items() if key.startswith(f"{name} seed ")]
    return fmean(values), stdev(values)
