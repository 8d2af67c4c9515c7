"""``predict``: classifies images with an exported model."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fmnist_sweep import exporting
from fmnist_sweep.data import read_idx
from fmnist_sweep.errors import DataError, UsageError, first_line

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_SHOWN = 20


def predict(model: Path, inputs: list[Path], *, exports: Path, invert: bool, console: Console) -> dict[str, Any]:
    """Classifies every image of ``inputs``; see the command line's ``predict``.

    Args:
        model: The folder of an export, or its name in ``exports``.
        inputs: Image files, ``.npy`` arrays or IDX files.
        exports: Where ``export`` puts models unless told otherwise.
        invert: Whether the images are dark on light.
        console: For people.

    Raises:
        SweepError: No such model or image, or images of another shape.
    """
    if not inputs:
        raise UsageError("no input given; valid: image files, .npy or IDX files")
    exported = exporting.read(model if model.exists() or not (exports / model).is_dir() else exports / model)
    batches = [(path, _read(path, exported.shape, invert)) for path in inputs]
    classify = exported.form.load(exported.path)
    found: list[dict[str, Any]] = []
    for path, images in batches:
        probabilities = np.concatenate([classify(images[start : start + 500]) for start in range(0, len(images), 500)])
        for place, row in enumerate(probabilities):
            label = int(row.argmax())
            found.append(
                {
                    "input": str(path) if len(images) == 1 else f"{path}[{place}]",
                    "label": label,
                    "class": exported.classes[label],
                    "probability": round(float(row[label]), 6),
                }
            )
    _show(found, console)
    return {"predictions": found, "format": exported.form.name}


def _read(path: Path, shape: tuple[int, int, int], invert: bool) -> NDArray[np.float32]:
    """Images as float32 (n, height, width, channels), 0 to 255."""
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder; valid: a file' if path.is_dir() else 'no such file'}")
    if path.suffix.lower() in _PICTURES:
        images = _picture(path, shape, 255 if invert else 0)
    elif path.suffix == ".npy":
        images = _array(path)
    else:
        images = read_idx(path)
    pixels: NDArray[np.float32] = _shaped(path, images, shape).astype(np.float32)
    return np.float32(255) - pixels if invert else pixels


def _picture(path: Path, shape: tuple[int, int, int], ground: int) -> NDArray[Any]:
    """As a viewer shows it: turned as its camera was held, 16 bits as 8, what is transparent over a grey ``ground``."""
    from PIL import Image

    height, width, channels = shape
    try:
        with Image.open(path) as picture:
            upright = _upright(picture)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray((np.asarray(upright).astype(np.uint16) // 257).astype(np.uint8))
            if upright.has_transparency_data:
                over = Image.new("RGBA", upright.size, (ground, ground, ground, 255))
                upright = Image.alpha_composite(over, upright.convert("RGBA"))
            fitting = upright.convert("L" if channels == 1 else "RGB")
            if fitting.size != (width, height):
                fitting = fitting.resize((width, height), Image.Resampling.LANCZOS)
            return np.asarray(fitting)[np.newaxis]
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{path}: no image that can be read ({first_line(error)})") from None


def _upright(picture: Any) -> Any:
    """Turned as the camera was held, where the picture says so in a way that can be read."""
    from PIL import ImageOps

    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        return picture


def _array(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: no .npy array that can be read ({first_line(error)})") from None
    if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in "uif":
        raise DataError(f"{path}: holds {getattr(loaded, 'dtype', 'no array')}; valid: numbers from 0 to 255")
    if loaded.size and (not np.isfinite(loaded).all() or loaded.min() < 0 or loaded.max() > 255):
        raise DataError(f"{path}: holds values from {loaded.min()} to {loaded.max()}; valid: 0 to 255")
    if loaded.dtype.kind == "f" and loaded.size and 0 < loaded.max() <= 1:  # as networks are often fed
        raise DataError(f"{path}: holds values from {loaded.min()} to {loaded.max()}; valid: 0 to 255, so times 255")
    return loaded


def _shaped(path: Path, images: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Adds the axes of batch and channel where they are left out."""
    height, width, channels = shape
    valid = [shape, (height, width)] if channels == 1 else [shape]
    if images.shape in valid:
        images = images[np.newaxis]
    if channels == 1 and images.shape[1:] == (height, width):
        images = images[..., np.newaxis]
    if images.shape[1:] != shape or not len(images):
        raise DataError(f"{path}: images of shape {images.shape}; valid: one or more of {height}x{width}x{channels}")
    return images


def _show(found: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("input", "class", "probability"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for row in found[:_SHOWN]:
        table.add_row(row["input"], row["class"], f"{100 * row['probability']:.1f} %")
    console.print(table)
    if len(found) > _SHOWN:
        console.print(f"and {len(found) - _SHOWN:,} more (all of them with --json)", highlight=False)
