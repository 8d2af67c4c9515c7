"""What the fused BatchNorm, dropout and Adam save: nets of a sweep, trained with them and with Keras' own in turns.

All else is the same on both sides: the same loop inside TensorFlow's graph, one pinned thread, the same images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import processes
from benchmarks.figures import Spread, geometric_mean
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep import config
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.space import RandomSuggest, sample

NAME = "layers"
SWEEPS = ("default", "accuracy")

Measured = Mapping[str, Sequence[float]]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {"nets": options.pick(options.trials, 8, 1), "images": options.pick(options.train_images, 2_560, 256)}


def run(options: Options, record: Record) -> Result:
    """Measures each net in a process of its own."""
    chosen = settings(options)
    rounds = options.pick(options.repeats, 7, 2)
    found: dict[tuple[str, str], Measured] = {}
    for sweep in SWEEPS:
        for place, (arch, train) in enumerate(drawn(sweep, chosen["nets"])):
            task = {"arch": arch.to_dict(), "train": train.to_dict(), "images": chosen["images"], "rounds": rounds}

            def measure(task: dict[str, Any] = task) -> dict[str, Any]:
                ran = processes.run(["benchmarks.one_net", json.dumps(task)], options.out / NAME)
                return dict(json.loads(ran.stdout.splitlines()[-1]))

            found[sweep, arch.short] = record.once(f"{sweep} {place}, {rounds} rounds", measure)
    return summed_up(found, chosen, rounds, quick=options.quick)


def drawn(sweep: str, count: int) -> list[tuple[ArchSpec, TrainSpec]]:
    """The first nets that seeded random draws from a sweep's space give."""
    _, of = config.load(sweep)
    shape, classes = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)
    return [sample(of, RandomSuggest(place), input_shape=shape, classes=classes) for place in range(count)]


def summed_up(
    found: Mapping[tuple[str, str], Measured], chosen: Mapping[str, Any], rounds: int, *, quick: bool
) -> Result:
    """Images by second on each side, and the ratio of each round."""
    rows: list[tuple[str, ...]] = []
    ratios: dict[str, list[float]] = {sweep: [] for sweep in SWEEPS}
    for (sweep, short), one in found.items():
        plain, fused = (Spread.of(chosen["images"] / s for s in one[side]) for side in ("plain", "fused"))
        ratio = Spread.of(a / b for a, b in zip(one["plain"], one["fused"], strict=True))
        ratios[sweep].append(ratio.median)
        rows.append((f"{sweep}: {short}", plain.text(), fused.text(), ratio.text(".2f")))
    means = {sweep: geometric_mean(values) for sweep, values in ratios.items() if values}
    rows += [(f"{sweep}: geometric mean", "", "", f"{mean:.2f}") for sweep, mean in means.items()]
    return Result(
        name=NAME,
        about=(
            f"Training images by second on one pinned thread, n={rounds} rounds in turns: median (quartiles). "
            f"{chosen['nets']} nets of each sweep, drawn at random. The loop is the product's on both sides; Keras: "
            "with Keras' own BatchNormalization, Dropout and Adam; fused: with those of fmnist_sweep/fused.py."
        ),
        figures={"ratios": ratios, "ratio_geometric_mean": means},
        tables=(Table("Images by second", ("net", "Keras", "fused", "fused / Keras"), tuple(rows)),),
        quick=quick,
    )
