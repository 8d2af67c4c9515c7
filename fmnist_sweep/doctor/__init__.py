"""Checks ledger, files, MLflow and Optuna's storage against each other, and mends them from the ledger."""

from __future__ import annotations

from fmnist_sweep.doctor.comparison import agreement
from fmnist_sweep.doctor.findings import Finding
from fmnist_sweep.doctor.visit import Checked, Visit, visit, visit_home

__all__ = ["Checked", "Finding", "Visit", "agreement", "visit", "visit_home"]
