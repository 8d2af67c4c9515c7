"""Views of the ledger for others to read: MLflow's runs, Optuna's storage. Training never waits for one."""

from __future__ import annotations

from fmnist_sweep.views.mirror import Mirror, View

__all__ = ["Mirror", "View"]
