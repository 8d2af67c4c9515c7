"""Optuna with Keras and MLflow in one process, put together from their documentation.

    python -m benchmarks.peers.optuna_fit FOLDER

TPE and the median pruner through Optuna's pruning callback for Keras; MLflow's autologging for Keras; one run a
trial; storage and tracking in SQLite, so that it can be called again and goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import mlflow
import optuna
from optuna_integration import KerasPruningCallback

from benchmarks.peers import natural
from benchmarks.peers.clock import Clock
from benchmarks.peers.task import Images, PeerTask, PeerTrial, sampled, tell
from fmnist_sweep.schema import Scalar

_ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


class Suggest:
    """The walk through the sweep's space, in Optuna's words."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def choice(self, name: str, choices: Sequence[Scalar]) -> Any:
        return self._trial.suggest_categorical(name, list(choices))

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)


def main(folder: Path) -> None:
    """Runs the task's trials."""
    task = PeerTask.read(folder)
    images = task.load()
    mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    mlflow.set_experiment("sweep")
    mlflow.keras.autolog()
    study = optuna.create_study(
        direction="maximize",
        study_name="sweep",
        storage=f"sqlite:///{folder.resolve() / 'optuna.db'}",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(),
    )
    study.sampler = optuna.samplers.TPESampler(seed=task.seed + len(study.trials))  # no draw again in a later session
    left = task.trials - sum(trial.state in _ENDED for trial in study.trials)
    if left > 0:
        study.optimize(lambda trial: _objective(trial, task, images, folder), n_trials=left)


def _objective(trial: optuna.Trial, task: PeerTask, images: Images, folder: Path) -> float:
    began, state = time.time(), "failed"
    keras.utils.clear_session()
    Clock.clear()
    arch = sampled(Suggest(trial))
    model = natural.compiled(arch)
    try:
        with mlflow.start_run():
            mlflow.log_params(trial.params)
            history = model.fit(
                images.x,
                images.y,
                batch_size=32,
                epochs=task.epochs,
                validation_data=(images.x_val, images.y_val),
                callbacks=[Clock(), KerasPruningCallback(trial, "val_accuracy")],
                verbose=2,
            )
        state = "complete"
    except optuna.TrialPruned:
        state = "pruned"
        raise
    finally:
        tell(folder, PeerTrial.of(arch, began, time.time(), state, Clock.epochs))
    return float(max(history.history["val_accuracy"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
