"""The default sweep by the product, and by Optuna with Keras and KerasTuner in the same space with the same data.

Every side ends with a champion: the net that its tool puts forward, for the peers the best trial, for the product the
first that its finals would take. All champions are trained anew by the product's workers, in full and under the same
seeds, so that they compare.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import images, processes, workers
from benchmarks.options import Options
from benchmarks.peers.task import PeerTask, PeerTrial, told
from benchmarks.record import Record, append_line, read_lines
from benchmarks.sweep_tables import summed_up
from benchmarks.workers import Heard
from fmnist_sweep import lab
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.data import PreparedData
from fmnist_sweep.errors import UsageError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.pruning import report_points
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import TrialJob

NAME = "sweep"
OURS = "fmnist_sweep"
PEERS = {
    "optuna": ("benchmarks.peers.optuna_fit",),
    "keras-tuner-hyperband": ("benchmarks.peers.keras_tuner_fit", "hyperband"),
    "keras-tuner-random": ("benchmarks.peers.keras_tuner_fit", "random"),
    "keras-tuner-bayesian": ("benchmarks.peers.keras_tuner_fit", "bayesian"),
}
_FIRST_FINAL_SEED = 101

Side = dict[str, Any]


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "train_images": options.pick(options.train_images, 48_000, 500),
        "epochs": options.pick(options.epochs, lab.PROTOCOL.epochs, 1),
        "trials": options.pick(options.trials, 50, 3),
    }


def run(options: Options, record: Record) -> Any:
    """Runs the sides one after the other, then trains their champions."""
    chosen = settings(options)
    peers = options.peers or (("optuna", "keras-tuner-random") if options.quick else tuple(PEERS))
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise UsageError(f"peer {unknown[0]!r} is unknown; valid: {', '.join(PEERS)}")
    data = images.prepared(options, chosen["train_images"])
    folder = options.out / NAME
    sides: dict[str, list[Side]] = {name: [] for name in (OURS, *peers)}
    for seed in range(options.studies):
        sides[OURS].append(_ours(options, chosen, folder, seed, record))
        for name in peers:
            sides[name].append(_peer(name, options, chosen, data, folder, seed, record))
    _retrain(sides, data, chosen["epochs"], options.pick(options.seeds, 3, 1), folder, record)
    return summed_up(sides, OURS, chosen, options.quick)


def _named(name: str, seed: int, between: str) -> str:
    return f"{name}{between}{seed}" if seed else name


def _ours(options: Options, chosen: Mapping[str, Any], folder: Path, seed: int, record: Record) -> Side:
    place = folder / _named(OURS, seed, "-seed")
    return record.once(_named(OURS, seed, ", seed "), lambda: ours(options, chosen, place, seed))


def ours(options: Options, chosen: Mapping[str, Any], folder: Path, seed: int) -> Side:
    """The product's ``run``, as a user types it."""
    home = folder / "home"
    words = ["fmnist_sweep", "run", "--sweep", "default", "--no-lab", "--trials", str(chosen["trials"]), "--json"]
    words += ["--seed", str(seed), "--home", str(home.resolve()), "--epochs", str(chosen["epochs"])]
    words += ["--train-images", str(chosen["train_images"])]
    words += ["--data-dir", str(options.data_dir.resolve())] if options.data_dir else []
    first, began = not home.exists(), time.time()
    _say(f"{OURS}: {chosen['trials']} trials, seed {seed}, log in {folder}")
    ran = processes.run(words, folder)
    told_ = json.loads(ran.stdout)
    ledger = Ledger(Home(home).study(told_["study"]).ledger)
    try:
        state = StudyState.of(ledger.events())
    finally:
        ledger.close()
    if first:
        return of_study(state, began, ran.wall_s, whole=True)
    return of_study(state, float(state.study["created"]), told_["study_wall_s"], whole=False)


def of_study(state: StudyState, began: float, wall_s: float, *, whole: bool) -> Side:
    """The side of the product, from its ledger.

    Args:
        state: Of the study.
        began: When the command was given, in seconds since 1970.
        wall_s: From the command to its end.
        whole: Whether it was run in one go.
    """
    trials = state.trials()
    best = state.finalists()[0]
    return {
        "trials": len(trials),
        "complete": len(state.trials("complete")),
        "configurations": len({job.fingerprint for job in trials}),
        "epochs": sum(job.epoch for job in trials),
        "train_s": sum(job.reports[-1].train_s for job in trials if job.reports),
        "wall_s": wall_s,
        "in_one_go": whole,
        "ended": [[job.ended - began - _paused(state, job.ended), job.best] for job in state.ranked()],
        "champion": {"val_accuracy": best.best, "arch": best.arch.to_dict()},
    }


def _paused(state: StudyState, until: float) -> float:
    """Seconds of pauses between two runs before a moment."""
    return sum(end - start for start, end in state.pauses if end <= until)


def _peer(
    name: str,
    options: Options,
    chosen: Mapping[str, Any],
    data: PreparedData,
    folder: Path,
    seed: int,
    record: Record,
) -> Side:
    trials = options.peer_trials or chosen["trials"]
    task = PeerTask.of(data, trials=trials, epochs=chosen["epochs"], seed=seed)
    key, place, limit_s = (
        _named(f"{name}, {trials} trials", seed, ", seed "),
        folder / _named(name, seed, "-seed"),
        options.peer_limit_s,
    )
    known = record.known(key)
    if known is not None and known["stopped"] and (limit_s is None or limit_s > known["limit_s"]):
        return record.add(key, peer(name, task, place, limit_s))  # it has more time now
    return record.once(key, lambda: peer(name, task, place, limit_s))


def peer(name: str, task: PeerTask, folder: Path, limit_s: float | None) -> Side:
    """A peer's process, until it has run its trials or its time is over."""
    task.write(folder)
    module, *more = PEERS[name]
    log = folder / "trials.jsonl"
    spent, _ = elapsed(list(read_lines(log)))
    _say(f"{name}: up to {task.trials} trials, seed {task.seed}, log in {folder}")
    append_line(log, {"session": time.time()})
    left = None if limit_s is None else max(limit_s - spent, 0.0)
    ran = processes.run([module, str(folder.resolve()), *more], folder, limit_s=left)
    if not ran.stopped:
        append_line(log, {"session_ended": time.time()})
    return of_peer(told(folder), *elapsed(list(read_lines(log))), stopped=ran.stopped) | {"limit_s": limit_s}


def elapsed(lines: Sequence[Mapping[str, Any]]) -> tuple[float, list[float]]:
    """Seconds of a peer's sessions, each from its start to the last thing it ended, and those up to each trial's end.

    A pause between two sessions doesn't count; what a session did beyond its last trial doesn't either.
    """
    before, began, last = 0.0, 0.0, 0.0
    ended = []
    for line in lines:
        if "session" in line:
            before += last - began
            began = last = line["session"]
        elif "trial" in line:
            last = line["trial"]["ended"]
            ended.append(before + last - began)
        else:
            last = line["session_ended"]
    return before + last - began, ended


def of_peer(trials: Sequence[PeerTrial], wall_s: float, ended: Sequence[float], *, stopped: bool) -> Side:
    """The side of a peer, from what it told.

    Args:
        trials: That have ended.
        wall_s: Seconds in all.
        ended: Seconds up to each trial's end.
        stopped: Whether its time was over before its trials.

    Raises:
        UsageError: It ended no trial in its time.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    scored = [trial for trial in trials if trial.state in ("complete", "short")]
    if not scored:
        raise UsageError("a peer ended no trial in its time; valid: a longer --peer-limit, or none")
    best = max(scored, key=lambda trial: trial.val_accuracy)
    train_s = sum(trial.train_s for trial in trials)
    score_s = sum(trial.score_s for trial in trials)
    return {
        "trials": sum(trial.state != "failed" for trial in trials),
        "complete": len(complete),
        "configurations": len({trial.net for trial in trials}),
        "epochs": sum(trial.epochs for trial in trials),
        "train_s": train_s,
        "score_s": score_s,
        "wall_s": wall_s,
        "stopped": stopped,
        "ended": [
            [spent, trial.val_accuracy] for spent, trial in zip(ended, trials, strict=True) if trial.state == "complete"
        ],
        "champion": {"val_accuracy": best.val_accuracy, "arch": best.arch},
    }


def _retrain(
    sides: Mapping[str, Sequence[Side]], data: PreparedData, epochs: int, seeds: int, folder: Path, record: Record
) -> None:
    """Trains each champion anew under the same seeds, and adds its accuracies to its side."""
    jobs: dict[str, TrialJob] = {}
    wanted: list[tuple[Side, list[str]]] = []
    for side in (side for studies in sides.values() for side in studies):
        arch = ArchSpec.from_dict(side["champion"]["arch"])
        finals = [_final(arch, _FIRST_FINAL_SEED + turn, epochs, data, folder) for turn in range(seeds)]
        wanted.append((side, [job.key for job in finals]))
        # Older releases did not score the last steps.
        jobs |= {job.key: job for job in finals if "steady" not in (record.known(job.key) or {})}
    if jobs:
        _say(f"{len(jobs)} trainings of the champions")
    workers.train(list(jobs.values()), log=folder / "workers.log", ended=_keeps(record))
    for side, keys in wanted:
        found = [record.known(key) or {} for key in keys]
        side["retrained"] = {figure: [one[figure] for one in found] for figure in ("last", "best", "steady")}


def _final(arch: ArchSpec, seed: int, epochs: int, data: PreparedData, folder: Path) -> TrialJob:
    train = TrainSpec(epochs=epochs, seed=seed)
    key = f"final-{fingerprint(arch, TrainSpec())}-seed{seed}"
    end = (float(epochs),)  # a single step's accuracy goes up and down by more than champions differ
    return TrialJob(key, arch, train, report_points(epochs, ()), data, folder / "finals-steady" / key, "last", end)


def _keeps(record: Record) -> Callable[[str, Heard], None]:
    def ended(key: str, heard: Heard) -> None:
        last, result = heard.reports[-1], heard.result
        best = last.val_accuracy if result is None else result.best_val_accuracy
        record.add(key, {"last": last.val_accuracy, "best": best, "steady": last.standing})

    return ended


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
