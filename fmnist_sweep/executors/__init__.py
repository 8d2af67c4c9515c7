"""Where trials run: one contract, several implementations."""

from __future__ import annotations

from fmnist_sweep.executors.base import Died, Executor, Failed, Finished, Happening, Reported, Started

__all__ = ["Died", "Executor", "Failed", "Finished", "Happening", "Reported", "Started"]
