"""Ledgers of studies that never were: as many ended trials as one likes, written as the driver would have."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import simulated
from fmnist_sweep import proposers, pruning
from fmnist_sweep.ledger import Ledger, checksum
from fmnist_sweep.proposers import Proposal, Task


def write(path: Path, task: Task, trials: int, study: Mapping[str, Any] | None = None) -> int:
    """Writes a new ledger.

    Args:
        path: Of the ledger.
        task: What the study searches.
        trials: How many have ended.
        study: The body of the study's own event; without it, one that has what the driver needs.

    Returns:
        How many events it has.

    A trial's run in MLflow has an id of 16 hexadecimal digits for ``trials`` and 16 for its number.
    """
    body = study or {"name": "simulated", "config": task.config.model_dump(mode="json"), "seed": 0}
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        with db:
            rows = ((*row, checksum(*row)) for row in _rows(task, trials, body))
            db.executemany("INSERT INTO events (time, kind, job, place, body, sum) VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(db.execute("SELECT COUNT(*) FROM events").fetchone()[0])


def _rows(task: Task, trials: int, study: Mapping[str, Any]) -> Iterator[tuple[float, str, str, int, str]]:
    """Every third trial goes on at each rung, the others are pruned there; each has a seed, so no two are the same.

    Of the complete ones the best keep their weights, as the driver decides whenever one more is complete.
    """
    kept: list[tuple[float, int]] = []
    base = proposers.make(task).ask([], lambda _: 0.0)
    assert isinstance(base, Proposal)
    yield _row(0, "study", "", 0, **study)
    for number in range(trials):
        key, train = f"trial-{number:04d}", base.train.with_seed(number + 1)
        points = pruning.report_points(train.epochs, task.config.fidelity.rungs)
        reports = simulated.curve(number, points)
        passed = len(points) if number % 9 == 0 else 2 if number % 3 == 0 else 1
        print_ = f"{number:016x}"
        asked = {"kind": "trial", "number": number, "arch": base.arch.to_dict(), "train": train.to_dict()}
        yield _row(number, "asked", key, 0, **asked, drawn=base.drawn, fingerprint=print_, report_at=points, same_as="")
        yield _row(number, "started", key, 1)
        for report in reports[:passed]:
            yield _row(number, "report", key, report.place, **report.body)
        whole = passed == len(points)
        result = simulated.result(reports[:passed])
        ending = {"state": "complete" if whole else "pruned", "reason": "", "result": result}
        yield _row(number, "ended", key, 0, **ending)
        if whole:
            yield _row(number, "kept", key, 0)
            kept = sorted([*kept, (-max(report.val_accuracy for report in reports), number)])
            for _, worse in kept[task.config.study.keep_models :]:
                yield _row(number, "dropped", f"trial-{worse:04d}", 0)
            kept = kept[: task.config.study.keep_models]
        yield _row(number, "run", key, 0, run_id=f"{trials:016x}{number:016x}")


def _row(number: int, kind: str, job: str, place: int, /, **body: Any) -> tuple[float, str, str, int, str]:
    return 1.7e9 + number, kind, job, place, json.dumps(body, sort_keys=True)
