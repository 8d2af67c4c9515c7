"""An exported model: a folder that needs nothing of this package, with a manifest that says what it is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import durable
from fmnist_sweep.errors import ExportError

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
FORMATS = ("keras",)
PREPROCESSING = "none: the model takes raw pixels, 0 to 255, as (batch, height, width, channels)"
TOLERANCE = 1e-5

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class FormatCheck:
    """One format, compared with the original over many images.

    Attributes:
        path: File or folder, relative to the export's.
        bytes: Its size.
        sha256: Of the file.
        max_abs_difference: Largest difference of a probability.
        argmax_agreement: Share of the images that get the same class, 0 to 1.
        latency_ms: Milliseconds for one image, the median of many.
    """

    path: str
    bytes: int
    sha256: str
    max_abs_difference: float
    argmax_agreement: float
    latency_ms: float


def write(target: Path, model: Any, images: NDArray[np.uint8], manifest: dict[str, Any]) -> dict[str, FormatCheck]:
    """Writes ``model`` as a folder at ``target``, whole or not at all, in place of an older export there.

    Args:
        target: The folder to make.
        model: Keras model, raw images -> probabilities.
        images: uint8 (n, height, width, channels): what original and export are compared on.
        manifest: What to say of the model beside the formats.

    Raises:
        ExportError: The export disagrees with the original, or the folder is in the way or can't be written.
    """
    if target.exists() and not (target / MANIFEST).exists():
        raise ExportError(f"--out {target} exists and is no export; choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    except OSError as error:
        raise ExportError(f"--out {target} can't be written: {error.strerror or error}") from None
    try:
        checks = {"keras": _keras(scratch, model, images)}
        described = {name: asdict(check) for name, check in checks.items()}
        content = {"manifest_version": MANIFEST_VERSION, **manifest, "formats": described}
        durable.write(scratch / MANIFEST, json.dumps(content, indent=2).encode())
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)  # noqa: PTH105
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    durable.sync_folder(target.parent)
    return checks


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export, with the model file's checksum verified.

    Raises:
        ExportError: No export, or one that was altered.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        keras = manifest["formats"]["keras"]
        expected, path = keras["sha256"], folder / Path(keras["path"]).name
        classes, shape = manifest["classes"], manifest["input"]["shape"]
    except FileNotFoundError:
        raise ExportError(f"{folder} is no exported model: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder / MANIFEST} can't be read: {type(error).__name__} {error}") from None
    found = durable.sha256(path) if path.exists() else "no file"
    if found != expected:
        raise ExportError(f"{path}: sha256 is {found}, the manifest says {expected}; export it again")
    return {**manifest, "classes": list(classes), "shape": tuple(shape), "model": path}


def _keras(scratch: Path, model: Any, images: NDArray[np.uint8]) -> FormatCheck:
    import keras

    path = scratch / "model.keras"
    model.save(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    again = keras.models.load_model(path, safe_mode=True)
    return _compare("keras", path, _predictor(model), _predictor(again), images)


def _predictor(model: Any) -> Predict:
    return lambda images: np.asarray(model.predict_on_batch(images), np.float32)


def _compare(name: str, path: Path, original: Predict, exported: Predict, images: NDArray[np.uint8]) -> FormatCheck:
    """Runs both over all images; refuses an export that disagrees."""
    largest, agreeing = 0.0, 0
    for start in range(0, len(images), 500):
        batch = np.asarray(images[start : start + 500], np.float32)
        expected, found = original(batch), exported(batch)
        largest = max(largest, float(np.abs(expected - found).max()))
        agreeing += int((expected.argmax(-1) == found.argmax(-1)).sum())
    if largest > TOLERANCE or agreeing < len(images):
        raise ExportError(
            f"format {name} disagrees with the original: largest difference {largest:.2g}, "
            f"same class for {agreeing} of {len(images)} images; nothing was exported"
        )
    return FormatCheck(
        path=path.name,
        bytes=path.stat().st_size,
        sha256=durable.sha256(path),
        max_abs_difference=largest,
        argmax_agreement=agreeing / len(images),
        latency_ms=_latency_ms(exported, np.asarray(images[:1], np.float32)),
    )


def _latency_ms(predict: Predict, image: NDArray[Any]) -> float:
    spent: list[float] = []
    for _ in range(60):
        begun = time.perf_counter()
        predict(image)
        spent.append(time.perf_counter() - begun)
    return round(1000 * float(np.median(spent[10:])), 3)
