"""How long until something happens: the help, and the first step of training in a cold process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes, studies
from benchmarks.machine import ROOT
from benchmarks.options import Options
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event

ONE_NET = """
title = "one small net, for benchmarks"
study = { trials = 1, sampler = "random", keep_models = 1 }
fidelity = { pruner = "none", rungs = [1] }

[space]
depth = 1
filters = 16
dense_units = 32
learning_rate = { low = 0.0005, high = 0.002, log = true }
epochs = 2
"""


def help_s() -> float:
    """Seconds that ``--help`` takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fmnist_sweep", "--help"], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - began


def first_step(options: Options, folder: Path) -> dict[str, Any]:
    """A study of one trial in a new home, from the command to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "one-net.toml"
    sweep.write_text(ONE_NET)
    home = folder / f"home-{time.strftime('%Y%m%d-%H%M%S')}"
    words = ["fmnist_sweep", "run", "--sweep", str(sweep.resolve()), "--home", str(home.resolve()), "--no-lab"]
    words += ["--train-images", "2000", "--json", *data_words(options)]
    began = time.time()
    ran = processes.run(words, folder)
    events = studies.events(Home(home).study(json.loads(ran.stdout)["study"]).ledger)
    return {"whole_s": ran.wall_s, "cpu_s": ran.cpu_s, **moments(events, began)}


def moments(events: Sequence[Event], began: float) -> dict[str, float]:
    """Seconds from ``began`` to the worker's start, the first step and the trial's end.

    No event tells of the first step. It is as long before the first report as training and scoring took, which that
    says, and a checkpoint; so it came at the latest when this says.

    Args:
        events: Of a study with one trial.
        began: When the command was given, in seconds since 1970.
    """
    started = next(event.time for event in events if event.kind == "started")
    ended = next(event.time for event in events if event.kind == "ended")
    first = next(event for event in events if event.kind == "report")
    return {
        "started_s": started - began,
        "first_step_s": first.time - first.body["train_s"] - first.body["score_s"] - began,
        "ended_s": ended - began,
    }


def data_words(options: Options) -> list[str]:
    """The product's option for where the data is."""
    return ["--data-dir", str(options.data_dir.resolve())] if options.data_dir else []
