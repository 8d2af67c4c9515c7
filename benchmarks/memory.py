"""Does memory grow from trial to trial, and what does a worker take? Many short trials of one net by the product's
``run``, and one trial of the largest flat net of one convolution that ``default`` can draw, on all its images.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import processes, studies
from benchmarks.options import Options
from benchmarks.processes import Ran
from benchmarks.startup import ONE_NET, data_words
from fmnist_sweep import arithmetic
from fmnist_sweep.home import Home
from fmnist_sweep.state import StudyState

LARGEST = """
title = "one wide convolution before a wide dense layer, for benchmarks"
study = { trials = 1, sampler = "random", keep_models = 1 }
fidelity = { pruner = "none", rungs = [1] }

[space]
depth = 1
filters = 128
dense_units = 512
epochs = 1
"""
_NAME = "memory"
_EVERY_S = 1.0


def measure(options: Options, folder: Path, trials: int) -> dict[str, Any]:
    """Runs so many trials; what each worker used at its most, and the driver after each trial.

    All trials have the same net and other learning rates, so that only their number differs; the sampler is that of
    ``default``, as its model is in the driver's memory.
    """
    text = ONE_NET.replace("epochs = 2", "epochs = 1").replace('"random"', '"gp"')
    samples: list[tuple[int, int, int]] = []
    ran, state = _ran(options, folder, text, trials, 64, samples)
    _, of_largest = _ran(options, folder, LARGEST, 1, options.pick(options.train_images, 48_000, 500), [])
    (largest,) = of_largest.trials("complete")
    return {
        "trials": json.loads(ran.stdout)["trials"],
        "wall_s": ran.wall_s,
        "driver_cpu_s": ran.cpu_s,
        "worker_peak_bytes": [[job.number, job.result.peak_bytes] for job in state.trials("complete") if job.result],
        "driver_bytes": [[ended, driver] for ended, driver, _ in samples],
        "server_bytes": [[ended, server] for ended, _, server in samples if server],
        "largest": {
            "net": largest.arch.short,
            "parameters": arithmetic.cost(largest.arch).parameters,
            "peak_bytes": 0 if largest.result is None else largest.result.peak_bytes,
        },
    }


def _ran(
    options: Options, folder: Path, text: str, trials: int, images: int, samples: list[tuple[int, int, int]]
) -> tuple[Ran, StudyState]:
    home = Home(folder / f"home-{time.strftime('%Y%m%d-%H%M%S')}")
    home.path.mkdir(parents=True)
    sweep = home.path / "memory.toml"
    sweep.write_text(text)
    words = ["fmnist_sweep", "run", "--sweep", str(sweep.resolve()), "--home", str(home.path.resolve()), "--no-lab"]
    words += ["--study", _NAME, "--trials", str(trials), "--train-images", str(images), "--json", *data_words(options)]
    ledger = home.study(_NAME).ledger
    ran = processes.run(words, folder, look=_sampler(ledger, samples))
    return ran, StudyState.of(studies.events(ledger))


def _sampler(ledger: Path, samples: list[tuple[int, int, int]]) -> Callable[[int], None]:
    """Notes (trials ended, resident bytes of the driver and of its fork server) about once a second."""
    last = 0.0

    def look(pid: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_S or not ledger.exists():
            return
        last = now
        bytes_ = processes.memory_bytes(pid)
        if bytes_:
            samples.append((_ended(ledger), bytes_, sum(map(processes.memory_bytes, _servers(pid)))))

    return look


def _servers(pid: int) -> list[int]:
    """The fork server among a driver's children: none before it is there, or where it was put in another's care."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [it for it in children if b"forkserver" in Path(f"/proc/{it}/cmdline").read_bytes()]
    except OSError:  # one of them has just ended
        return []


def _ended(ledger: Path) -> int:
    """Trials that have ended so far, read beside the driver."""
    try:
        with sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT COUNT(*) FROM events WHERE kind = 'ended'").fetchone()[0])
    except sqlite3.OperationalError:  # the driver is making the table
        return 0
