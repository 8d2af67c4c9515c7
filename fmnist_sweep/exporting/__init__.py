"""An exported model: a folder that needs nothing of this package, in formats that agree with the original."""

from __future__ import annotations

from fmnist_sweep.exporting.card import FILE as CARD
from fmnist_sweep.exporting.checks import FormatCheck, Material, Original
from fmnist_sweep.exporting.folder import MANIFEST, Exported, Written, read, read_manifest, write
from fmnist_sweep.exporting.formats import chosen
from fmnist_sweep.exporting.manifest import describe

__all__ = [
    "CARD",
    "MANIFEST",
    "Exported",
    "FormatCheck",
    "Material",
    "Original",
    "Written",
    "chosen",
    "describe",
    "read",
    "read_manifest",
    "write",
]
