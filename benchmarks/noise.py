"""How noisy is a score? The same nets under several seeds: after the last step, and over the last steps.

A score can't order nets that differ by less than two runs of the same net do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, workers
from benchmarks.figures import geometric_mean
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from benchmarks.workers import Heard
from fmnist_sweep import lab
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.data import PreparedData
from fmnist_sweep.pruning import report_points
from fmnist_sweep.trial import Report, TrialJob

NAME = "noise"
KINDS = {"last": "last step", "steady": "last steps"}

Floats = NDArray[np.float64]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "seeds": options.pick(options.seeds, 3, 2),
        "train_images": options.pick(options.train_images, 48_000, 640),
        "epochs": options.pick(options.epochs, lab.PROTOCOL.epochs, 1),
    }


def points(epochs: int) -> tuple[float, ...]:
    """Where the nets are scored, in epochs."""
    return tuple(sorted({0.5, 1.0, float(epochs)}))


def nets(data: PreparedData) -> tuple[ArchSpec, ...]:
    """Good nets of several kinds: two of the lab's; shallow, deep; with dropout; with BatchNorm on either side."""
    shape, classes = data.image_shape, data.classes
    slim, wide = (BlockSpec(16), BlockSpec(32)), (BlockSpec(16), BlockSpec(64))
    dropped = tuple(BlockSpec(filters, dropout=0.125) for filters in (16, 32))
    deep = (*slim, BlockSpec(64))
    return (
        ArchSpec(shape, classes, (BlockSpec(32),), dense=(128,)),
        ArchSpec(shape, classes, (BlockSpec(32), BlockSpec(64), BlockSpec(128)), dense=(512,)),
        ArchSpec(shape, classes, (BlockSpec(16),), dense=(256,)),
        ArchSpec(shape, classes, (BlockSpec(16, dropout=0.375),), dense=(512,)),
        ArchSpec(shape, classes, (BlockSpec(32, dropout=0.25),), dense=(256,)),
        ArchSpec(shape, classes, (BlockSpec(32, dropout=0.125),), "before_activation", dense=(64,)),
        ArchSpec(shape, classes, slim, "after_activation", dense=(128,)),
        ArchSpec(shape, classes, dropped, "after_activation", dense=(512,)),
        ArchSpec(shape, classes, wide, "after_activation", dense=(128,)),
        ArchSpec(shape, classes, deep, "after_activation", dense=(512,)),
    )


def run(options: Options, record: Record) -> Result:
    """Trains each net in full under each seed."""
    chosen = settings(options)
    data = images.prepared(options, chosen["train_images"])
    folder, scored_at = options.out / NAME, points(chosen["epochs"])
    named = {arch.short: arch for arch in nets(data)}
    jobs = {
        (name, seed): TrialJob(
            f"{name} seed {seed}",
            arch,
            TrainSpec(epochs=chosen["epochs"], seed=seed),
            report_points(chosen["epochs"], scored_at),
            data,
            folder / f"{place}-{seed}",
            steady_at=scored_at,
        )
        for place, (name, arch) in enumerate(named.items())
        for seed in range(1, chosen["seeds"] + 1)
    }

    def ended(key: str, heard: Heard) -> None:
        record.add(key, scores_of([it for it in heard.reports if it.epoch in scored_at]))

    missing = [job for job in jobs.values() if record.known(job.key) is None]
    workers.train(missing, log=folder / "workers.log", ended=ended)
    found = {which: record.known(job.key) or {} for which, job in jobs.items()}
    return summed_up(found, chosen, quick=options.quick)


def scores_of(reports: Sequence[Report]) -> dict[str, list[float]]:
    """By kind, at each report."""
    return dict(zip(KINDS, ([it.val_accuracy for it in reports], [it.standing for it in reports]), strict=True))


def agreement(scores: Floats, ends: Floats) -> float:
    """How well a score under one seed tells what a net comes to under others: correlation over the nets, mean of seeds.

    Args:
        scores: Shape (nets, seeds).
        ends: What the nets come to, of the same shape.
    """
    seeds = range(scores.shape[1])
    others = [np.delete(ends, seed, axis=1).mean(axis=1) for seed in seeds]
    return float(np.mean([np.corrcoef(scores[:, seed], others[seed])[0, 1] for seed in seeds]))


def summed_up(
    found: Mapping[tuple[str, int], Mapping[str, Sequence[float]]], chosen: Mapping[str, Any], *, quick: bool
) -> Result:
    """Mean and standard deviation over the seeds, by net and report point; and what a score says of the end.

    Args:
        found: By net and seed, then by kind, at each point.
        chosen: See ``settings``.
        quick: Whether it is a trial run.
    """
    names, scored_at = list(dict.fromkeys(name for name, _ in found)), points(chosen["epochs"])
    seeds = range(1, chosen["seeds"] + 1)
    scores = {kind: np.array([[found[name, seed][kind] for seed in seeds] for name in names]) for kind in KINDS}
    means = {kind: of_kind.mean(axis=1) for kind, of_kind in scores.items()}
    spreads = {kind: of_kind.std(axis=1, ddof=1) for kind, of_kind in scores.items()}
    cells = [(place, kind) for place in range(len(scored_at)) for kind in KINDS]
    rows = [
        (
            name,
            *(f"{100 * means[kind][net, place]:.2f} ± {100 * spreads[kind][net, place]:.2f}" for place, kind in cells),
        )
        for net, name in enumerate(names)
    ]
    ends = scores["steady"][:, :, -1]
    agreements = {
        kind: [agreement(of[:, :, place], ends) for place in range(len(scored_at))] for kind, of in scores.items()
    }
    both = (spreads["last"] > 0) & (spreads["steady"] > 0)
    ratios = (spreads["last"][both] / spreads["steady"][both]).tolist()
    return Result(
        name=NAME,
        about=(
            f"Validation accuracy, in points, of each net under {chosen['seeds']} seeds: mean ± standard deviation. "
            "last step: by the weights after it; last steps: over many, which trials are compared by."
        ),
        figures={
            "nets": {
                name: {kind: [*zip(means[kind][net], spreads[kind][net], strict=True)] for kind in KINDS}
                for net, name in enumerate(names)
            },
            "ratio_of_spreads": ratios,
            "agreement": agreements,
        },
        tables=(
            Table(
                "Scores by epochs",
                ("net", *(f"{scored_at[place]:g}, {KINDS[kind]}" for place, kind in cells)),
                tuple(rows),
            ),
            Table(
                "What a score under one seed says of the end under the others",
                ("epochs", *KINDS.values()),
                tuple(
                    (f"{point:g}", *(f"{agreements[kind][place]:.2f}" for kind in KINDS))
                    for place, point in enumerate(scored_at)
                ),
                f"Correlation over the {len(names)} nets with their accuracy over the last steps of full training "
                "under the other seeds; mean over the seeds.",
            ),
        ),
        lines=(f"Geometric mean of the ratio of the two spreads: {geometric_mean(ratios):.1f}.",) if ratios else (),
        quick=quick,
    )
