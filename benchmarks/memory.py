"""Does memory grow from trial to trial? Many short trials of one net by the product's ``run``."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import processes, studies
from benchmarks.options import Options
from benchmarks.startup import ONE_NET, data_words
from fmnist_sweep.home import Home
from fmnist_sweep.state import StudyState

_NAME = "memory"
_EVERY_S = 1.0


def measure(options: Options, folder: Path, trials: int) -> dict[str, Any]:
    """Runs so many trials; what each worker used at its most, and the driver after each trial.

    All trials have the same net and other learning rates, so that only their number differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "memory.toml"
    sweep.write_text(ONE_NET.replace("epochs = 2", "epochs = 1"))
    home = Home(folder / f"home-{time.strftime('%Y%m%d-%H%M%S')}")
    words = ["fmnist_sweep", "run", "--sweep", str(sweep.resolve()), "--home", str(home.path.resolve()), "--no-lab"]
    words += ["--study", _NAME, "--trials", str(trials), "--train-images", "64", "--json", *data_words(options)]
    driver: list[tuple[int, int]] = []
    ledger = home.study(_NAME).ledger
    ran = processes.run(words, folder, look=_sampler(ledger, driver))
    state = StudyState.of(studies.events(ledger))
    complete = state.trials("complete")
    return {
        "trials": json.loads(ran.stdout)["trials"],
        "wall_s": ran.wall_s,
        "driver_cpu_s": ran.cpu_s,
        "worker_peak_bytes": [[job.number, job.result.peak_bytes] for job in complete if job.result],
        "driver_bytes": [list(sample) for sample in driver],
    }


def _sampler(ledger: Path, samples: list[tuple[int, int]]) -> Callable[[int], None]:
    """Notes (trials ended, resident bytes of the driver) about once a second."""
    last = 0.0

    def look(pid: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_S or not ledger.exists():
            return
        last = now
        bytes_ = processes.memory_bytes(pid)
        if bytes_:
            samples.append((_ended(ledger), bytes_))

    return look


def _ended(ledger: Path) -> int:
    """Trials that have ended so far, read beside the driver."""
    try:
        with sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT COUNT(*) FROM events WHERE kind = 'ended'").fetchone()[0])
    except sqlite3.OperationalError:  # the driver is making the table
        return 0
