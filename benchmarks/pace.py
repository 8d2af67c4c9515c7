"""How well the time of training is foretold: nets of ``default``, trained for a while on the product's workers.

The model of ``arithmetic.image_s`` is fitted to them anew. Its three constants, and what the probe of ``estimate.Pace``
finds on the same machine, are what a forecast stands on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks import images, workers
from benchmarks.figures import Spread
from benchmarks.layers import drawn
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from benchmarks.workers import Heard
from fmnist_sweep import arithmetic, estimate
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.trial import TrialJob

NAME = "pace"
_ROUNDS = 50
_POINTS = (0.1, 1.0)

Net = tuple[ArchSpec, TrainSpec]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "nets": options.pick(options.trials, 40, 3),
        "images": options.pick(options.train_images, 9_600, 320),
    }


def run(options: Options, record: Record) -> Result:
    """Trains each net for two stretches, the first of which builds the graph and does not count."""
    chosen = settings(options)
    folder = options.out / NAME
    data = images.prepared(options, chosen["images"])
    nets = {f"net {place}": net for place, net in enumerate(drawn("default", chosen["nets"]))}

    def ended(key: str, heard: Heard) -> None:
        first, second = (heard.at(point) for point in _POINTS)
        record.add(key, {"s": (second.train_s - first.train_s) / (second.images - first.images)})

    wanted = [
        TrialJob(key, arch, replace(train, epochs=1), _POINTS, data, folder / key)
        for key, (arch, train) in nets.items()
        if record.known(key) is None
    ]
    workers.train(wanted, log=folder / "workers.log", ended=ended)
    probed = record.once("probe", lambda: dict(zip(("products", "additions"), estimate.probe(), strict=True)))
    found = {key: (record.known(key) or {})["s"] for key in nets}
    return summed_up(list(nets.values()), list(found.values()), probed, quick=options.quick)


def fitted(work: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds by unit of work, none below 0, that come closest to ``seconds`` in proportion.

    Least squares on relative errors, with weights that bring it to least absolute ones (iteratively reweighted, as
    Holland and Welsch, 1977), so that a net whose worker was held up does not bend the rest.

    Args:
        work: (nets, kinds of work), for one image.
        seconds: (nets,), for one image.
    """
    weights = np.ones(len(seconds))
    for _ in range(_ROUNDS):
        found, _ = nnls(work / seconds[:, None] * weights[:, None], weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(work @ found / seconds - 1), 0.02))
    return np.asarray(found)


def summed_up(nets: Sequence[Net], taken: Sequence[float], probed: Mapping[str, float], *, quick: bool) -> Result:
    """The constants, and how far forecasts with the old ones and the new ones are from what the nets took.

    Args:
        nets: That were trained.
        taken: Seconds for one image, of each.
        probed: What the probe found.
        quick: See ``Result``.
    """
    seconds, work = np.array(taken), np.array([arithmetic.work(*net) for net in nets], np.float64)
    constants = fitted(work, seconds)
    old = np.array([arithmetic.image_s(*net) for net in nets]) / seconds
    new = work @ constants / seconds
    rows = [
        (name, Spread.of(ratio).text(".2f"), f"{np.mean(np.abs(np.log(ratio / np.median(ratio))) < np.log(1.25)):.0%}")
        for name, ratio in (("the product's constants", old), ("fitted here", new))
    ]
    kinds = ("FLOPs of training", "values in the layers' outputs", "parameters of a step")
    return Result(
        name=NAME,
        about=f"Seconds of training foretold by seconds taken, over {len(nets)} nets: median (quartiles).",
        figures={
            "per_s": {kind: 1 / s if s else None for kind, s in zip(kinds, constants, strict=True)},
            "probe": dict(probed),
            "foretold_by_taken": {"product": Spread.of(old).to_dict(), "fitted": Spread.of(new).to_dict()},
        },
        tables=(
            Table("Foretold / taken", ("constants", "ratio", "within a factor of 1.25 of the median"), tuple(rows)),
            Table(
                "One core of this machine, by second",
                ("work", "units"),
                tuple(
                    (kind, f"{1 / s:.3g}" if s else "no cost found") for kind, s in zip(kinds, constants, strict=True)
                )
                + tuple((f"probe: {name}", f"{value:.3g}") for name, value in probed.items()),
            ),
        ),
        quick=quick,
    )
