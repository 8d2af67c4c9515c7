"""What the fused BatchNorm, dropout and Adam save, and what oneDNN's kernels: nets of a sweep, with and without.

All else is the same: the same loop inside TensorFlow's graph, one pinned thread, the same images. Fused layers and
Keras' own take turns in one process; without oneDNN a net is trained in another one right after, as it can't be turned
off later.
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
_OTHERS = ("plain", "without")

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
                found = _trained(task | {"onednn": True, "ways": ["plain", "fused"]}, options)
                return found | {"without": _trained(task | {"onednn": False, "ways": ["fused"]}, options)["fused"]}

            found[sweep, arch.short] = record.once(f"{sweep} {place}, {rounds} rounds", measure)
    return summed_up(found, chosen, rounds, quick=options.quick)


def _trained(task: dict[str, Any], options: Options) -> dict[str, Any]:
    ran = processes.run(["benchmarks.one_net", json.dumps(task)], options.out / NAME)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def drawn(sweep: str, count: int) -> list[tuple[ArchSpec, TrainSpec]]:
    """The first nets that seeded random draws from a sweep's space give."""
    _, of = config.load(sweep)
    shape, classes = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)
    return [sample(of, RandomSuggest(place), input_shape=shape, classes=classes) for place in range(count)]


def summed_up(
    found: Mapping[tuple[str, str], Measured], chosen: Mapping[str, Any], rounds: int, *, quick: bool
) -> Result:
    """Images by second each way, and the ratios of each round."""
    rows: list[tuple[str, ...]] = []
    ratios: dict[str, dict[str, list[float]]] = {side: {sweep: [] for sweep in SWEEPS} for side in _OTHERS}
    for (sweep, short), one in found.items():
        rates = [Spread.of(chosen["images"] / s for s in one[side]).text() for side in ("fused", *_OTHERS)]
        cells = []
        for side in _OTHERS:
            ratio = Spread.of(a / b for a, b in zip(one[side], one["fused"], strict=True))
            ratios[side][sweep].append(ratio.median)
            cells.append(ratio.text(".2f"))
        rows.append((f"{sweep}: {short}", *rates, *cells))
    means = {
        side: {sweep: geometric_mean(values) for sweep, values in of.items() if values} for side, of in ratios.items()
    }
    rows += [
        (f"{sweep}: geometric mean", "", "", "", *(f"{means[side][sweep]:.2f}" for side in _OTHERS))
        for sweep in means["plain"]
    ]
    return Result(
        name=NAME,
        about=(
            f"Training images by second on one pinned thread, n={rounds} rounds in turns: median (quartiles). "
            f"{chosen['nets']} nets of each sweep, drawn at random. The loop is the product's throughout; product: "
            "with the layers and Adam of fmnist_sweep/fused.py, and oneDNN's kernels; Keras: with Keras' own "
            "BatchNormalization, Dropout and Adam; without oneDNN: as the product, TF_ENABLE_ONEDNN_OPTS=0."
        ),
        figures={"ratios": ratios, "ratio_geometric_mean": means},
        tables=(
            Table(
                "Images by second",
                ("net", "product", "Keras", "without oneDNN", "product / Keras", "product / without oneDNN"),
                tuple(rows),
            ),
        ),
        quick=quick,
    )
