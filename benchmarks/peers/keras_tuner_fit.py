"""KerasTuner's tuners in one process, as its documentation shows them.

python -m benchmarks.peers.keras_tuner_fit FOLDER random|bayesian|hyperband
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_tuner

from benchmarks.peers import natural
from benchmarks.peers.clock import Clock
from benchmarks.peers.task import PeerTask, PeerTrial, sampled, tell
from fmnist_sweep.schema import Scalar


class Suggest:
    """The walk through the sweep's space, in KerasTuner's words."""

    def __init__(self, hp: Any) -> None:
        self._hp = hp

    def choice(self, name: str, choices: Sequence[Scalar]) -> Any:
        return self._hp.Choice(name, list(choices))

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return int(self._hp.Int(name, low, high, **({"sampling": "log"} if log else {"step": step})))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        if step:  # a Float with a step never comes to its end
            steps = round((high - low) / step)
            return float(self._hp.Choice(name, [low + step * turn for turn in range(steps + 1)]))
        return float(self._hp.Float(name, low, high, sampling="log" if log else "linear"))


def build(hp: Any) -> Any:
    """A compiled model, as KerasTuner wants it of its user."""
    return natural.compiled(sampled(Suggest(hp)))


class _Noted(keras_tuner.Tuner):  # type: ignore[misc]
    """Says of each trial that it has ended; KerasTuner has these two methods for such uses."""

    folder: Path
    epochs: int

    def on_trial_begin(self, trial: Any) -> None:
        super().on_trial_begin(trial)
        self._began = time.time()
        Clock.clear()

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        whole = trial.hyperparameters.values.get("tuner/epochs", self.epochs) == self.epochs  # Hyperband's early rounds
        state = "failed" if trial.status != "COMPLETED" else "complete" if whole else "short"
        tell(
            self.folder,
            PeerTrial.of(sampled(Suggest(trial.hyperparameters)), self._began, time.time(), state, Clock.epochs),
        )


class _Random(_Noted, keras_tuner.RandomSearch):  # type: ignore[misc]
    pass


class _Bayesian(_Noted, keras_tuner.BayesianOptimization):  # type: ignore[misc]
    pass


class _Hyperband(_Noted, keras_tuner.Hyperband):  # type: ignore[misc]
    pass


def main(folder: Path, name: str) -> None:
    """Runs the task's trials."""
    task = PeerTask.read(folder)
    images = task.load()
    _Noted.folder, _Noted.epochs = folder, task.epochs
    seed = task.seed + 1  # 0 would be none for KerasTuner
    common = {"objective": "val_accuracy", "directory": str(folder), "project_name": name, "seed": seed}
    if name == "hyperband":
        tuner = _Hyperband(build, max_epochs=task.epochs, factor=3, hyperband_iterations=100, **common)
        tuner.oracle.max_trials = task.trials  # Hyperband itself knows iterations alone; these go on until then
    else:
        tuner = {"random": _Random, "bayesian": _Bayesian}[name](build, max_trials=task.trials, **common)
    tuner.search(
        images.x,
        images.y,
        batch_size=32,
        epochs=task.epochs,
        validation_data=(images.x_val, images.y_val),
        callbacks=[Clock()],
        verbose=2,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
