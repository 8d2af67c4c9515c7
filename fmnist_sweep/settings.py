"""What the user asked for, as one frozen value: the command line's options, resolved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmnist_sweep.home import Home
from fmnist_sweep.schema import Engine

ExecutorName = Literal["local", "inline", "ray"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Options that mean the same in every command.

    Attributes:
        home: Where everything is kept.
        study: Name of the study; "" for the sweep's name.
        sweep: Name or file of the sweep; "" for the study's own, or the default one.
        data_dir: Where the user says the data is.
        tracking_uri: Of MLflow; "" for the store under home.
        storage: Of Optuna; "" for the storage under home.
        seed: None for the study's own, or 0 for a new one.
        workers: Jobs at a time; 0 for as many as the machine carries.
        executor: Where jobs run.
        ray_address: Of the Ray cluster; "" for one of this machine alone.
        timeout_s: Seconds that the study may take in all.
        patience: Instead of the study's last, or the sweep's; 0 for never flat.
        epochs: Instead of the sweep's.
        train_images: Instead of the sweep's.
        engine: Instead of the sweep's.
    """

    home: Home
    study: str = ""
    sweep: str = ""
    data_dir: Path | None = None
    tracking_uri: str = ""
    storage: str = ""
    seed: int | None = None
    workers: int = 0
    executor: ExecutorName = "local"
    ray_address: str = ""
    timeout_s: float | None = None
    patience: int | None = None
    epochs: int | None = None
    train_images: int | None = None
    engine: Engine | None = None

    @property
    def mlflow(self) -> str:
        """MLflow's address."""
        return self.tracking_uri or self.home.mlflow_uri

    @property
    def optuna(self) -> str:
        """Optuna's address."""
        return self.storage or self.home.optuna_uri
