"""Formats that go wrong, and a program that exports a small net in them; for ``test_export``."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import data as datasets
from fmnist_sweep import exporting
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.data import PreparedData
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST
from fmnist_sweep.errors import ExportError
from fmnist_sweep.exporting import Material
from fmnist_sweep.exporting.base import Floats, Format
from fmnist_sweep.exporting.keras import KERAS
from fmnist_sweep.testing import Candidate

ARCH = ArchSpec((28, 28, 1), 10)  # one layer: 784 x 10 weights and 10 more


def _write_another(model: Any, path: Path, _: Floats) -> None:
    model.set_weights([weight[..., ::-1] for weight in model.get_weights()])
    model.save(path)


def _write_and_die(model: Any, path: Path, _: Floats) -> None:
    model.save(path)
    print("a converter's last words")
    os.kill(os.getpid(), signal.SIGKILL)


WRONG = dataclasses.replace(KERAS, name="wrong", path="wrong.keras", write=_write_another)
ROUGH = dataclasses.replace(WRONG, name="rough", path="rough.keras", exact=False)
DYING = dataclasses.replace(KERAS, name="dying", path="dying.keras", write=_write_and_die)


def candidate(folder: Path, data: PreparedData) -> Candidate:
    """A net that names the class whose mean image is nearest; made and written without Keras."""
    split = data.load()
    means = [split.train_images[split.train_labels == label].mean(axis=0).ravel() / 255 for label in range(10)]
    kernel = np.stack(means, axis=-1)  # (784, 10): |x - m|^2 is least where x m - |m|^2 / 2 is largest
    content = io.BytesIO()
    np.savez(content, **{"000": kernel, "001": -0.5 * (kernel**2).sum(axis=0)})
    weights = folder / "weights.npz"
    weights.write_bytes(content.getvalue())
    return Candidate("trial-0000", ARCH, weights, hashlib.sha256(content.getvalue()).hexdigest())


def describe(original: exporting.Original) -> dict[str, Any]:
    """A manifest with all that the card needs."""
    from fmnist_sweep.exporting import accuracy

    return {
        "name": "study trial-0000",
        "net": ARCH.short,
        "classes": list(datasets.CLASSES),
        "input": {"shape": list(ARCH.input_shape)},
        "train": {"optimizer": "adam", "seed": 0},
        "parameters": 7850,
        "flops": 15_680,
        "accuracy": {
            "validation": accuracy.validation(original, list(datasets.CLASSES)),
            "test": {"weights": None, "net": None},
        },
        "source": {
            **{"study": "study", "job": "trial-0000", "run_id": "", "git_commit": "", "machine": "none"},
            **{"epoch": 1.0, "train_s": 1.0, "chosen": "that of the mean images"},
        },
        "data": {"name": FASHION_MNIST.name, "training": 48_000, "validation": 12_000},
        "versions": {"python": "3"},
        "exported_with": {"keras": "3"},
    }


def main() -> None:
    """Exports into the folder that is named first, with the data of the second, and prints what came of it."""
    folder, data_dir = Path(sys.argv[1]), Path(sys.argv[2])
    source = datasets.find(data_dir)
    data = datasets.prepare(source, folder / "data")
    material = Material(candidate(folder, data), source, data)

    def told(name: str, wanted: list[Format]) -> dict[str, Any]:
        """Exports where an older export stands."""
        target = folder / name / "export"
        target.mkdir(parents=True)
        (target / "old").write_text("old")
        older = {"manifest_version": 1, "formats": {"older": {"files": {"old": ""}}}}
        (target / exporting.MANIFEST).write_text(json.dumps(older))
        outcome: dict[str, Any] = {"error": ""}
        try:
            written = exporting.write(target, wanted, material, describe, log=folder / "log")
            outcome |= {"formats": list(written.checks), "refused": written.refused}
        except ExportError as error:
            outcome["error"] = str(error)
        return {**outcome, "files": sorted(str(path.relative_to(folder / name)) for path in target.parent.rglob("*"))}

    outcomes = {
        "alone": told("alone", [WRONG]),
        "dying": told("dying", [DYING]),
        "beside": told("beside", [KERAS, WRONG, ROUGH]),
    }
    print(json.dumps(outcomes))
