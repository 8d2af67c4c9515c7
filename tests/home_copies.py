"""Copies of home folders whose artifacts are their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fmnist_sweep.views import mlflow_moved
from fmnist_sweep.views.mlflow_client import connect


def copy_home(old: Path, new: Path) -> None:
    """Copies a home folder; the unpacked images stay the original's."""
    shutil.copytree(old, new, ignore=lambda at, _: ["data"] if Path(at) == old else [])
    (new / "data").symlink_to(old / "data")
    mlflow_moved.follow(f"sqlite:///{new / 'mlflow.db'}")


def client_at(home: Path) -> Any:
    """MLflow's client for a home folder's own store; it remembers by id where artifacts are, and copies share ids."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    return connect(f"sqlite:///{home / 'mlflow.db'}")
