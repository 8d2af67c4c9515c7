"""What the sweep's benchmark found, in tables; pure functions of its sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.figures import clock
from benchmarks.tables import Result, Table

Side = Mapping[str, Any]


def summed_up(sides: Mapping[str, Side], ours: str, chosen: Mapping[str, Any], quick: bool) -> Result:
    """All tables of the sweep's benchmark."""
    return Result(
        name="sweep",
        about=(
            f"The default sweep: architecture only, Adam, batch 32, up to {chosen['epochs']} epochs of "
            f"{chosen['train_images']:,} images, scored on 12,000; target {chosen['trials']} trials; one study of each "
            f"side. {ours}: `run` without the lab's nets, from the command to its end, storage and MLflow included. "
            "optuna: TPE and median pruner, Keras' fit, MLflow's Keras autologging as it comes, in one process with "
            "all threads. keras-tuner: its tuners with Keras' fit, one process, all threads; a net that Hyperband "
            "takes on to its next round is another trial, and goes on from its weights."
        ),
        figures={"sides": {name: dict(side) for name, side in sides.items()}},
        tables=(_times(sides, ours, chosen["trials"]), _champions(sides), _in_our_time(sides, ours)),
        quick=quick,
    )


def per_trial_s(side: Side) -> float:
    """Seconds of one trial, all included."""
    return float(side["wall_s"] / side["trials"])


def outside(side: Side) -> float | None:
    """Share of a peer's time in which Keras neither trained nor scored; None where sides train at the same time."""
    return None if "score_s" not in side else 1 - (side["train_s"] + side["score_s"]) / side["wall_s"]


def _times(sides: Mapping[str, Side], ours: str, target: int) -> Table:
    rows = []
    for name, side in sides.items():
        ratio = per_trial_s(side) / per_trial_s(sides[ours])
        share = outside(side)
        whole = clock(per_trial_s(side) * target) + ("" if side["trials"] >= target else " (extrapolated)")
        rows.append(
            (
                name + (" (stopped)" if side.get("stopped") else ""),
                f"{side['trials']}",
                f"{side['complete']}",
                f"{side['configurations']}",
                f"{side['epochs']:g}",
                clock(side["wall_s"]),
                f"{per_trial_s(side):.1f}",
                f"{ratio:.2f}",
                whole,
                "" if share is None else f"{100 * share:.0f} %",
            )
        )
    columns = ("side", "trials run", "in full", "nets", "epochs", "time", "s a trial", f"/ {ours}",
               f"time for {target}", "outside training and scoring")  # fmt: skip
    broken = any(not side.get("in_one_go", True) for side in sides.values())
    note = " It was interrupted: its time is its ledger's, without starting up." if broken else ""
    return Table("Time", columns, tuple(rows), f"One study a side, n=1.{note}")


def _champions(sides: Mapping[str, Side]) -> Table:
    rows = []
    for name, side in sides.items():
        cells = (_mean(side["retrained"][figure]) for figure in ("steady", "last", "best"))
        rows.append((name, f"{100 * side['champion']['val_accuracy']:.2f}", *cells))
    n = len(next(iter(sides.values()))["retrained"]["last"])
    return Table(
        "Champions: validation accuracy in percent",
        ("side", "in its search", "retrained, last steps", "retrained, last epoch", "retrained, best epoch"),
        tuple(rows),
        f"Retrained by the product's workers in full, mean and standard deviation over n={n} seeds, the same for all. "
        "Last steps: the mean of twelve moments of the last 300 steps, as a single step's accuracy goes up and down.",
    )


def best_after(side: Side, seconds: float) -> tuple[int, float | None]:
    """How many trials a side had trained in full after so many seconds, and the best of them."""
    there = [accuracy for ended, accuracy in side["ended"] if ended <= seconds]
    return len(there), max(there, default=None)


def _in_our_time(sides: Mapping[str, Side], ours: str) -> Table:
    whole = sides[ours]["wall_s"]
    moments = [whole / 4, whole / 2, whole]
    rows = []
    for name, side in sides.items():
        cells = []
        for moment in moments:
            count, best = best_after(side, moment)
            cells.append("none" if best is None else f"{100 * best:.2f} ({count})")
        rows.append((name, *cells))
    return Table(
        f"Best so far in the time that {ours} took",
        ("side", *(f"after {clock(moment)}" for moment in moments)),
        tuple(rows),
        "Validation accuracy in percent, trials trained in full so far. One seed each: lucky scores count.",
    )


def _mean(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"
