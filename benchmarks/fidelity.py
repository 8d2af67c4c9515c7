"""How much does a short training say of a full one? Rank correlations, and rung schedules replayed on real curves.

It runs a study of random configurations of the default sweep, all trained in full, or reads one that is there
(``--home``, ``--study``).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks import curves, replay, studies
from benchmarks.curves import Curve
from benchmarks.figures import clock
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.replay import Replayed, Schedule
from benchmarks.tables import Result, Table
from fmnist_sweep import config as sweeps
from fmnist_sweep import lab
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import StudyState

NAME = "fidelity"
RUNGS = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)
TRIALS = 50
SCHEDULES = (
    Schedule("none", (1.0,)),
    Schedule("asha", (1.0,)),
    Schedule("asha", (0.5, 1.0)),
    Schedule("asha", (0.5, 1.0), 4),
    Schedule("asha", (0.5, 1.0), 4, 3),
    Schedule("asha", (0.25, 1.0)),
    Schedule("asha", (0.25, 1.0), 4),
    Schedule("asha", (0.125, 1.0)),
    Schedule("asha", (0.125, 0.5)),
    Schedule("asha", (0.125, 0.5, 1.0)),
    Schedule("asha", (0.0625, 0.25)),
    Schedule("asha", (0.0625, 0.25, 1.0)),
    Schedule("asha", (0.0625, 0.25, 1.0), 3, 3),
    Schedule("asha", (0.0625, 0.25, 1.0), 4),
    Schedule("asha", (0.25, 1.0, 2.0), 4),
    Schedule("asha", (0.0625, 0.25, 1.0, 2.0), 2),
    Schedule("asha", (0.5, 1.0, 2.0)),
    Schedule("asha", (0.5, 1.0, 3.0)),
    Schedule("asha", (0.25, 1.0, 3.0)),
    Schedule("asha", (0.25, 1.0, 3.0), price=0.25),
    Schedule("asha", (0.25, 3.0)),
    Schedule("asha", (0.5, 3.0)),
    *(
        Schedule("asha", rungs, reduction, finalists, "at_end")
        for rungs, reduction, finalists in (
            ((1.0,), 3, 5),
            ((0.5, 1.0), 3, 5),
            ((0.5, 1.0), 3, 8),
            ((0.25, 1.0), 3, 5),
            ((0.5, 1.0, 2.0), 2, 5),
            ((0.5, 1.0, 2.0), 3, 5),
            ((0.25, 1.0, 2.0), 3, 5),
            ((0.25, 1.0, 2.0), 3, 3),
            ((0.5, 2.0), 3, 5),
            ((0.25, 3.0), 3, 5),
            ((0.5, 3.0), 3, 5),
            ((0.5, 1.0, 3.0), 3, 5),
            ((0.25, 1.0, 3.0), 3, 5),
        )
    ),
    Schedule("median", (1.0, 2.0, 3.0, 4.0)),
)


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    if options.home is not None:
        return {"home": str(options.home), "study": options.study}
    return {
        "trials": options.pick(options.trials, 24, 5),
        "train_images": options.pick(options.train_images, 48_000, 1_000),
        "epochs": options.pick(options.epochs, lab.PROTOCOL.epochs, 2),
    }


def run(options: Options, record: Record) -> Result:
    """Trains or reads the curves, then looks at them; the looking is repeatable, so only its sum is kept."""
    found = curves.of_state(_state(options))
    times = options.pick(options.repeats, 200, 5)
    record.once(f"{len(found)} curves", lambda: {"nets": [curve.arch.short for curve in found]})
    scores = curves.Scores.of(found)
    points = scores.points
    schedules = [one for one in SCHEDULES if set(one.rungs) <= set(points)]
    replayed = {}
    for schedule in schedules:
        print(f"replaying {schedule.name}", file=sys.stderr, flush=True)
        replayed[schedule] = replay.many(found, schedule, times=times, trials=TRIALS, seed=0)
    return Result(
        name=NAME,
        about=(
            f"{len(found)} random configurations of the default sweep, trained in full ({points[-1]:g} epochs), one "
            "seed each. Rank correlation of the validation accuracy at each report point with that over the last "
            "steps of full training. 95 % intervals from a bootstrap over configurations."
        ),
        figures={
            "points": list(points),
            "curves": [curve_figures(curve) for curve in found],
            "schedules": {one.name: _figures(all_) for one, all_ in replayed.items()},
        },
        tables=(_correlations(scores), _schedules(replayed, times)),
        quick=options.quick,
    )


def _state(options: Options) -> StudyState:
    folder = options.out / NAME
    if options.home is not None:
        return StudyState.of(studies.read(options, folder))
    chosen = settings(options)
    return studies.run(options, folder / "home", _config(chosen), name="fidelity", target=chosen["trials"], seed=7)


def _config(chosen: dict[str, Any]) -> SweepConfig:
    """The default sweep without pruning, by random draws, with many report points."""
    default = sweeps.load("default")[1]
    changed = default.changed(epochs=chosen["epochs"])
    whole = {"pruner": "none", "rungs": list(RUNGS), "full_training": "at_once"}
    fidelity = changed.fidelity.model_copy(update=whole)
    study = changed.study.model_copy(update={"sampler": "random", "keep_models": 1})
    data = changed.data.model_copy(update={"train_images": chosen["train_images"]})
    return changed.model_copy(update={"fidelity": fidelity, "study": study, "data": data})


def _correlations(scores: curves.Scores) -> Table:
    end = scores.standing[:, -1]
    upper = curves.better_half(end)
    rows = []
    for place, point in enumerate(scores.points[:-1]):
        early = scores.standing[:, place]
        recalled = (f"{curves.recall(early, end, count)}/{count}" for count in (1, 3, 5))
        cells = [curves.correlation(*pair).text() for pair in ((early, end), (early[upper], end[upper]))]
        rows.append((f"{point:g}", f"{100 * point / scores.points[-1]:.1f} %", *cells, *recalled))
    return Table(
        f"What {len(end)} configurations' beginnings say of their ends",
        ("epochs", "of full cost", "among all", "among the better half", "best 1", "best 3", "best 5"),
        tuple(rows),
        "Spearman's correlation of the accuracy over the last steps before the point, by which trials are compared, "
        "with that over the last steps of full training; among all, and among the better half in the end. best k: how "
        "many of the k that are best in the end are in the best third at that point.",
    )


def _schedules(replayed: dict[Schedule, list[Replayed]], times: int) -> Table:
    rows = []
    for schedule, all_ in replayed.items():
        figures = _figures(all_)
        rows.append(
            (
                schedule.name,
                f"{figures['epochs']:.0f}",
                clock(figures["seconds"]),
                clock(figures["span_s"]),
                f"{figures['starts']:.0f}",
                f"{100 * figures['regret']:.2f}",
                f"{100 * figures['regret_p90']:.2f}",
                f"{100 * figures['found']:.0f} %",
            )
        )
    return Table(
        f"Schedules: studies of {TRIALS} trials replayed on these curves",
        ("schedule", "epochs", "training", "two workers", "starts", "regret", "regret, 90 %", "best found"),
        tuple(rows),
        (
            f"Means of n={times} studies, configurations drawn with replacement, the same draws for all schedules; "
            "five finalists unless told. The product's driver and pruning, in simulated time: training alone, without "
            "starting and scoring. regret: accuracy points, over the last steps, between the first finalist and the "
            "best that full training of all would have found; its 90 % quantile."
        ),
    )


def _figures(all_: Sequence[Replayed]) -> dict[str, float]:
    regrets = sorted(one.regret for one in all_)
    return {
        "n": len(all_),
        **{name: fmean(getattr(one, name) for one in all_) for name in ("epochs", "seconds", "span_s", "starts")},
        "regret": fmean(regrets),
        "regret_p90": regrets[int(0.9 * (len(regrets) - 1))],
        "found": fmean(one.found for one in all_),
    }


def curve_figures(curve: Curve) -> dict[str, Any]:
    """A curve for programs: accuracy and seconds of training at each report point."""
    return {
        "net": curve.arch.short,
        "val_accuracy": [report.val_accuracy for report in curve.reports],
        "standing": [report.standing for report in curve.reports],
        "train_s": [report.train_s for report in curve.reports],
    }
