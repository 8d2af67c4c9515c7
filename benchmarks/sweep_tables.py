"""What the sweep's benchmark found, in tables; pure functions of its sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.figures import clock, geometric_mean
from benchmarks.tables import Result, Table

Side = Mapping[str, Any]


def summed_up(sides: Mapping[str, Sequence[Side]], ours: str, chosen: Mapping[str, Any], quick: bool) -> Result:
    """All tables of the sweep's benchmark.

    Args:
        sides: By name, the studies of each, as many of the one as of the other; those at one place have one seed.
        ours: Whose time the others' is divided by.
        chosen: What was measured.
        quick: Whether it was a quick run.
    """
    studies = len(sides[ours])
    each = "one study" if studies == 1 else f"{studies} studies"
    tables = [_times(sides, ours, chosen["trials"]), _champions(sides), _in_our_time(sides, ours)]
    return Result(
        name="sweep",
        about=(
            f"The default sweep: architecture only, Adam, batch 32, up to {chosen['epochs']} epochs of "
            f"{chosen['train_images']:,} images, scored on 12,000; target {chosen['trials']} trials; {each} of each "
            f"side. {ours}: `run` without the lab's nets, from the command to its end, storage and MLflow included. "
            "optuna: TPE and median pruner, Keras' fit, MLflow's Keras autologging as it comes, in one process with "
            "all threads. keras-tuner: its tuners with Keras' fit, one process, all threads; a net that Hyperband "
            "takes on to its next round is another trial, and goes on from its weights. Peers have TensorFlow as it "
            "comes: with oneDNN's kernels where it chooses them by itself."
        ),
        figures={"sides": {name: [dict(side) for side in own] for name, own in sides.items()}},
        tables=(*([_together(sides, ours)] if studies > 1 else []), *tables),
        quick=quick,
    )


def _rows(sides: Mapping[str, Sequence[Side]]) -> Iterator[tuple[str, int, Side]]:
    """Each study: what to call it, its place among those of its side, and what is known of it."""
    for name, studies in sides.items():
        for place, side in enumerate(studies):
            yield (f"{name}, seed {place}" if len(studies) > 1 else name), place, side


def per_trial_s(side: Side) -> float:
    """Seconds of one trial, all included."""
    return float(side["wall_s"] / side["trials"])


def outside(side: Side) -> float | None:
    """Share of a peer's time in which Keras neither trained nor scored; None where sides train at the same time."""
    return None if "score_s" not in side else 1 - (side["train_s"] + side["score_s"]) / side["wall_s"]


def ratios(sides: Mapping[str, Sequence[Side]], name: str, ours: str) -> list[float]:
    """How many times as long a trial of one side takes as of the other, seed by seed."""
    return [per_trial_s(side) / per_trial_s(own) for side, own in zip(sides[name], sides[ours], strict=True)]


def _together(sides: Mapping[str, Sequence[Side]], ours: str) -> Table:
    rows = []
    for name, studies in sides.items():
        found = ratios(sides, name, ours)
        means = [float(np.mean(side["retrained"]["steady"])) for side in studies]
        mean_s = float(np.mean([side["wall_s"] for side in studies]))
        between = "" if name == ours else f"{geometric_mean(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        champions = f"{_mean(means)} ({100 * min(means):.2f} to {100 * max(means):.2f})"
        stopped = " (some stopped)" if any(side.get("stopped") for side in studies) else ""
        rows.append((f"{name}{stopped}", f"{len(studies)}", clock(mean_s), between, champions))
    return Table(
        "All studies",
        ("side", "studies", "mean time", f"s a trial / {ours}", "champions retrained, last steps"),
        tuple(rows),
        "The ratio is taken seed by seed: geometric mean, lowest and highest. Of the champions: validation accuracy in "
        "percent, mean, standard deviation, lowest and highest of the studies.",
    )


def _times(sides: Mapping[str, Sequence[Side]], ours: str, target: int) -> Table:
    rows = []
    for name, place, side in _rows(sides):
        ratio = per_trial_s(side) / per_trial_s(sides[ours][place])
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
    broken = any(not side.get("in_one_go", True) for _, _, side in _rows(sides))
    note = f" A study of {ours} was interrupted: its time is its ledger's, without starting up." if broken else ""
    return Table("Time", columns, tuple(rows), f"n={len(sides[ours])} studies of each side.{note}")


def _champions(sides: Mapping[str, Sequence[Side]]) -> Table:
    rows = []
    for name, _, side in _rows(sides):
        cells = (_mean(side["retrained"][figure]) for figure in ("steady", "last", "best"))
        rows.append((name, f"{100 * side['champion']['val_accuracy']:.2f}", *cells))
    n = len(next(iter(sides.values()))[0]["retrained"]["last"])
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


def _in_our_time(sides: Mapping[str, Sequence[Side]], ours: str) -> Table:
    shares = {"a quarter": 0.25, "half": 0.5, "all of it": 1.0}
    rows = []
    for name, place, side in _rows(sides):
        cells = []
        for share in shares.values():
            count, best = best_after(side, share * sides[ours][place]["wall_s"])
            cells.append("none" if best is None else f"{100 * best:.2f} ({count})")
        rows.append((name, *cells))
    return Table(
        f"Best so far in the time that {ours} took",
        ("side", *shares),
        tuple(rows),
        "Validation accuracy in percent, trials trained in full so far. One training each: lucky scores count.",
    )


def _mean(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"
