"""Runs benchmarks: ``python -m benchmarks [NAME...]``, or ``make bench ARGS="NAME ..."``.

Measurements are kept as they come, so an interrupted benchmark goes on where it was when it is called again.
"""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes  # noqa: F401  before TensorFlow's settings are chosen, which are not for peers
from benchmarks.options import RESULTS, Options
from benchmarks.record import Record
from benchmarks.tables import publish
from fmnist_sweep import quiet
from fmnist_sweep.errors import SweepError

# By name: the module, and what it answers.
BENCHMARKS = {
    "throughput": ("throughput", "how many images a second do two workers train, beside Keras' fit with all cores?"),
    "layers": ("layers", "what do the fused layers and Adam save beside Keras' own, and what oneDNN?"),
    "alone": ("alone", "what are all cores worth to a net that trains alone?"),
    "sweep": ("sweep", "50 trials of the default sweep beside Optuna with Keras, and KerasTuner"),
    "fidelity": ("fidelity", "what does a short training say of a full one? Rung schedules replayed on real curves"),
    "noise": ("noise", "how noisy is a score, and how much less is one over many steps?"),
    "outage": ("outage", "what does it cost a sweep when MLflow is away for minutes, and is anything missing then?"),
    "overhead": ("overhead", "what does a study cost beside its training: starting, bookkeeping, memory?"),
    "pace": ("pace", "how well is the time of training foretold? The model fitted anew to this machine"),
    "cluster": ("cluster", "how busy are a Ray cluster's nodes, and what does its driver pay for a trial?"),
    "load": ("load", "what does a trial cost the servers that show it, in a study of 100,000?"),
    "scale": ("scale", "what do 100 workers and 100,000 trials cost the driver and its ledger?"),
    "calibration": ("calibration", "are the verdicts calibrated? Simulated nets of known accuracy"),
    "calibration-real": ("calibration_real", "are the verdicts calibrated? One net beside itself, on the test set"),
}


def main(words: Sequence[str]) -> int:
    """Runs what was asked for; returns the exit code."""
    names, options = parsed(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers and workers end with it, too
    try:
        for name in names:
            print(run(name, options))
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def run(name: str, options: Options) -> str:
    """Runs one benchmark, writes its results, and returns them in Markdown."""
    quiet.load_tensorflow()
    module = importlib.import_module(f"benchmarks.{BENCHMARKS[name][0]}")
    record = Record(options.out / f"{name}.jsonl", module.settings(options), fresh=options.fresh)
    return publish(options.out, module.run(options, record), record)


def parsed(words: Sequence[str]) -> tuple[list[str], Options]:
    """The names of the benchmarks and the options.

    Raises:
        SystemExit: The words make no sense; what would is printed.
    """
    parser = _parser()
    given = vars(parser.parse_args(words))
    names = given.pop("names") or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"benchmark {unknown[0]!r} is unknown; valid: {', '.join(BENCHMARKS)}")
    return names, Options(**given)


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:18} {about}" for name, (_, about) in BENCHMARKS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="\n".join(["Runs benchmarks; all of them unless some are named.", "", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME")
    add("--quick", action="store_true", help="show that it works; the figures mean nothing")
    add("--out", type=Path, default=RESULTS, help="where results go (default: benchmarks/results)")
    add("--fresh", action="store_true", help="put earlier measurements aside and begin anew")
    add("--data-dir", type=Path, help="where the data set is")
    add("--home", type=Path, help="home folder of a study to read")
    add("--study", default="", help="name of that study")
    for name, what in (
        ("repeats", "how often each thing is measured"),
        ("train-images", "images to train on"),
        ("epochs", "epochs of a full training"),
        ("trials", "trials of a sweep"),
        ("peer-trials", "trials of each peer"),
        ("seeds", "trainings of one net, each under another seed"),
    ):
        add(f"--{name}", type=_count, metavar="N", help=what)
    add("--studies", type=_count, default=1, metavar="N", help="studies of each side, each under another seed")
    add("--peer-limit", dest="peer_limit_s", type=_seconds, metavar="TIME", help="stop a peer after this: 90m, 2h")
    add("--nets", type=_names, default=(), metavar="NET,NET", help="the lab's nets to train")
    add("--peers", type=_names, default=(), metavar="PEER,PEER", help="whom to compare a sweep with")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: a whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: a number with s, m or h, as 90m")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
