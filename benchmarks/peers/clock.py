"""A callback that times what Keras' ``fit`` does."""

from __future__ import annotations

import time
from typing import Any

import keras


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes for each epoch the seconds of training, the seconds with validation, and the validation accuracy.

    The notes belong to the class: KerasTuner hands copies of a callback to ``fit``.
    """

    epochs: list[dict[str, float]] = []  # noqa: RUF012

    @classmethod
    def clear(cls) -> None:
        """Forgets all notes."""
        cls.epochs.clear()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._began = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self.epochs.append(
            {
                "train_s": self._trained - self._began,
                "whole_s": time.perf_counter() - self._began,
                "val_accuracy": float((logs or {})["val_accuracy"]),
            }
        )
