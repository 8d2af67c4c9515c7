"""Copies of home folders whose artifacts are their own."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from fmnist_sweep.views.mlflow_client import connect


def copy_home(old: Path, new: Path) -> None:
    """Copies a home folder; the unpacked images stay the original's."""
    shutil.copytree(old, new, ignore=lambda at, _: ["data"] if Path(at) == old else [])
    (new / "data").symlink_to(old / "data")
    columns = {"experiments": "artifact_location", "runs": "artifact_uri"}
    columns |= {"logged_models": "artifact_location", "model_versions": "storage_location"}
    with closing(sqlite3.connect(new / "mlflow.db")) as db, db:
        for table, column in columns.items():
            db.execute(f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)", (str(old), str(new)))


def client_at(home: Path) -> Any:
    """MLflow's client for a home folder's own store; it remembers by id where artifacts are, and copies share ids."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    return connect(f"sqlite:///{home / 'mlflow.db'}")
