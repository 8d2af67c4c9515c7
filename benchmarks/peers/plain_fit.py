"""Keras' ``fit`` as its documentation shows it, in a process of its own: prints its epochs as one JSON object.

python -m benchmarks.peers.plain_fit FOLDER NET STEPS_PER_EXECUTION
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras

from benchmarks.peers import natural
from benchmarks.peers.clock import Clock
from benchmarks.peers.task import PeerTask
from fmnist_sweep import lab
from fmnist_sweep.data import FASHION_MNIST


def main(folder: Path, name: str, steps_per_execution: int) -> None:
    """Trains one of the lab's nets for the task's epochs."""
    task = PeerTask.read(folder)
    images = task.load()
    keras.utils.set_random_seed(task.seed)
    (variant,) = lab.variants([name], input_shape=FASHION_MNIST.image_shape, classes=len(FASHION_MNIST.class_names))
    model = natural.compiled(variant.arch, steps_per_execution=steps_per_execution)
    model.fit(
        images.x,
        images.y,
        batch_size=32,
        epochs=task.epochs,
        validation_data=(images.x_val, images.y_val),
        callbacks=[Clock()],
        verbose=2,
    )
    print(json.dumps({"epochs": Clock.epochs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
