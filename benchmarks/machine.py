"""Where a benchmark ran: processor, memory, versions, code. No figure is told without it."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fmnist_sweep import provenance
from fmnist_sweep.executors.limits import usable_cores

ROOT = Path(__file__).resolve().parent.parent
GIVEN = dict(os.environ)
"""The environment as this was loaded: a peer has TensorFlow as a user has it, not as the product sets it."""
_OF_TENSORFLOW = ("TF_", "OMP_", "KERAS_", "XLA_", "CUDA_", "MKL_", "OPENBLAS_")
_PEERS = ("optuna-integration", "keras-tuner", "scipy")


def setup() -> dict[str, Any]:
    """What must be the same for two measurements to be compared: hardware, versions, and how TensorFlow is set."""
    return {
        "environment": {name: value for name, value in sorted(GIVEN.items()) if name.startswith(_OF_TENSORFLOW)},
        "machine": provenance.machine(),
        "usable_cores": len(usable_cores()),
        "versions": provenance.versions() | {name: _version(name) for name in _PEERS},
    }


def moment() -> dict[str, Any]:
    """What may change between two measurements: the code, and what else the machine does."""
    return {"commit": provenance.git_commit()[:12], "changed": _changed(), "load": round(os.getloadavg()[0], 2)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _changed() -> bool:
    """Whether the code differs from the commit."""
    try:
        done = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode != 0 or bool(done.stdout.strip())
