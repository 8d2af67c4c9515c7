"""The calibration of the verdicts on real trainings: one net beside itself, under other seeds.

One net is trained under many seeds and tested once, all seeds together, through the product's own finals. Then two
groups of six seeds, no seed in both, are compared as if they were two nets, many times over. There is no difference,
so every verdict but *not distinguishable* is false, and a 95 % interval should hold 0 in 95 % of the cases.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import studies
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep import config as sweeps
from fmnist_sweep import finals, lab, verdicts
from fmnist_sweep.data import FASHION_MNIST, PreparedData
from fmnist_sweep.errors import UsageError
from fmnist_sweep.finals import Contender
from fmnist_sweep.session import Scene
from fmnist_sweep.state import StudyState
from fmnist_sweep.stats import Correct
from fmnist_sweep.trial import Extra

NAME = "calibration-real"
GROUP = 6  # seeds of a comparison, as `compare` has them by default
_FINAL = re.compile(r"final-(.+)-seed\d+")
_DRAWS = 2_000
_ENTERED_AS = "trial-0"  # the finals want a finalist: they look at what the best of them gets wrong


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    if options.home is not None:
        return {"home": str(options.home), "study": options.study}
    return {
        "net": options.nets[0] if options.nets else "lab-cnn3" if not options.quick else "lab-cnn1",
        "train_images": options.pick(options.train_images, 48_000, 500),
        "epochs": options.pick(options.epochs, lab.PROTOCOL.epochs, 1),
    }


def run(options: Options, record: Record) -> Result:
    """Trains and tests, or reads what is tested, then resamples."""
    state = _state(options)
    nets = {name: rows for name, rows in tested(state).items() if len(rows) >= 2 * GROUP}
    if not nets:
        raise UsageError(
            f"no net of study {state.study['name']!r} is tested under {2 * GROUP} seeds; "
            f"valid: --seeds {2 * GROUP} or more"
        )
    times = options.pick(options.repeats, 1_000, 10)
    record.once(f"{sum(map(len, nets.values()))} tested", lambda: {"openings": state.openings})
    if options.home is None:
        nets = {settings(options)["net"]: rows for rows in nets.values()}
    found = {name: resampled(rows, times) for name, rows in nets.items()}
    return Result(
        name=NAME,
        about=(
            f"One net beside itself: {GROUP} of its seeds against {GROUP} others, n={times} random splits; the "
            "product's verdicts on the real test set. The splits of a net share its trainings, so their number says "
            "little of how sure the shares are: the standard errors are a jackknife over the trainings."
        ),
        figures={
            "openings": state.openings,
            "nets": {
                name: {"accuracy": nets[name].mean(axis=1).tolist(), **one.to_dict()} for name, one in found.items()
            },
        },
        tables=(_table(nets, found),),
        lines=(f"The test set was opened {state.openings} time(s) for this study, as its ledger counts.",),
        quick=options.quick,
    )


def _state(options: Options) -> StudyState:
    if options.home is not None:
        return StudyState.of(studies.read(options, options.out / NAME))
    chosen, count = settings(options), options.pick(options.seeds, 24, 2 * GROUP)
    contender = _contender(chosen)

    def extras(state: StudyState, _: PreparedData) -> list[Extra]:
        return finals.extras([contender], finals.seeds_of(state, count))

    def finale(scene: Scene) -> None:
        state = StudyState.of(scene.ledger.events())
        finals.test([contender], finals.seeds_of(state, count), scene.ledger, scene.folder, scene.source, scene.data)

    config = sweeps.load("default")[1]
    config = config.model_copy(update={"data": config.data.model_copy(update={"train_images": chosen["train_images"]})})
    home = options.out / NAME / "home"
    return studies.run(options, home, config, name="calibration", target=0, extras=extras, finale=finale)


def _contender(chosen: Mapping[str, Any]) -> Contender:
    shape, classes = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)
    (variant,) = lab.variants([chosen["net"]], input_shape=shape, classes=classes, epochs=chosen["epochs"])
    return Contender(_ENTERED_AS, variant.arch, variant.train, None)


def tested(state: StudyState) -> dict[str, Correct]:
    """By net, which test images it classifies correctly under each seed, shape (seeds, images)."""
    rows: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    for job in state.of_kind("final"):
        named = _FINAL.fullmatch(job.key)
        if named and job.tested is not None:
            rows[named[1]].append(job.tested.hits())
    return {name: np.stack(hits) for name, hits in rows.items()}


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the splits, 0 to 1, with its standard error by the jackknife over the trainings.

    There is no standard error where every split needs every training.
    """

    share: float
    standard_error: float | None

    def text(self) -> str:
        """In percent."""
        error = "" if self.standard_error is None else f" ± {100 * self.standard_error:.1f}"
        return f"{100 * self.share:.1f} %{error}"


@dataclass(frozen=True, slots=True)
class Splits:
    """What the splits of one net came to.

    Attributes:
        n: How many.
        false: Share of verdicts that see a difference.
        held: Share of intervals that hold 0.
        width: Mean width of the intervals, as a fraction like accuracy.
    """

    n: int
    false: Share
    held: Share
    width: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain JSON types."""
        return {
            "n": self.n,
            "false": self.false.share,
            "false_se": self.false.standard_error,
            "held": self.held.share,
            "held_se": self.held.standard_error,
            "width": self.width,
        }


def resampled(rows: Correct, times: int, *, seed: int = 0) -> Splits:
    """Compares random groups of a net's seeds with other groups of them.

    Args:
        rows: Of one net, shape (seeds, images), at least ``2 * GROUP`` seeds.
        times: Splits.
        seed: Of the splits.
    """
    rng = np.random.default_rng(seed)
    inside = np.zeros((times, len(rows)), bool)
    false, held, width = np.zeros(times, bool), np.zeros(times, bool), 0.0
    for turn in range(times):
        order = rng.permutation(len(rows))[: 2 * GROUP]
        pair = verdicts.pair_verdict(rows[order[:GROUP]], rows[order[GROUP:]], draws=_DRAWS)
        inside[turn, order] = True
        false[turn] = pair.verdict != "not distinguishable"
        held[turn] = pair.ci_low <= 0 <= pair.ci_high
        width += (pair.ci_high - pair.ci_low) / times
    return Splits(times, _share(false, inside), _share(held, inside), width)


def _share(shown: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Share:
    """The share of ``shown``, and its standard error from the splits that leave out one training after the other.

    The luck of the splits themselves is in it, so it is rather too large: the more splits, the less.
    """
    without = [shown[~inside[:, place]] for place in range(inside.shape[1])]
    means = np.array([one.mean() for one in without if len(one)])
    if len(means) < 2:
        return Share(float(shown.mean()), None)
    n = len(means)
    return Share(float(shown.mean()), math.sqrt((n - 1) / n * float(((means - means.mean()) ** 2).sum())))


def _table(nets: Mapping[str, Correct], found: Mapping[str, Splits]) -> Table:
    def row(name: str, one: Splits) -> tuple[str, ...]:
        accuracy = nets[name].mean(axis=1)
        return (
            name,
            f"{len(accuracy)}",
            f"{100 * accuracy.mean():.2f} ± {100 * accuracy.std(ddof=1):.2f}",
            one.false.text(),
            one.held.text(),
            f"{100 * one.width:.2f}",
        )

    columns: Sequence[str] = (
        "net",
        "trainings",
        "test accuracy, %",
        "false verdicts",
        "intervals that hold 0",
        "width",
    )
    return Table(
        "A net beside itself",
        tuple(columns),
        tuple(row(name, one) for name, one in found.items()),
        "Wanted: at most 5 % false verdicts, about 95 % of the intervals. Accuracy: mean and standard deviation.",
    )
