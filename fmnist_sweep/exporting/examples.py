"""The script beside each format: how to use the model with nothing but the format's own runtime."""

from __future__ import annotations

from typing import Any

from fmnist_sweep.exporting.base import Format

_SCRIPT = '''\
"""Classifies an image file: python {file} IMAGE (needs: pip install {packages} numpy pillow)."""

import json
import sys
from pathlib import Path

{imports}
import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
classes = json.loads((FOLDER / "manifest.json").read_text())["classes"]
picture = ImageOps.exif_transpose(Image.open(sys.argv[1]))  # as the camera was held
if picture.has_transparency_data:
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
picture = picture.convert("{mode}").resize(({width}, {height}), Image.Resampling.LANCZOS)
pixels = np.asarray(picture, np.float32).reshape(1, {height}, {width}, {channels})  # 0 to 255, light on dark
{predict}
print(f"{{classes[probabilities.argmax()]}} {{probabilities.max():.1%}}")
'''


def file_name(form: Format) -> str:
    """Of a format's script."""
    return f"example_{form.name.replace('-', '_')}.py"


def script(form: Format, manifest: dict[str, Any]) -> str:
    """The script, for the images that the model takes."""
    height, width, channels = manifest["input"]["shape"]
    return _SCRIPT.format(
        file=file_name(form),
        packages=form.example.packages,
        imports=form.example.imports,
        predict=form.example.predict,
        mode="L" if channels == 1 else "RGB",
        height=height,
        width=width,
        channels=channels,
    )
