"""The formats there are, and which of them can be had here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from fmnist_sweep.errors import ExportError, UsageError
from fmnist_sweep.exporting.base import EXTRA, Format
from fmnist_sweep.exporting.keras import KERAS
from fmnist_sweep.exporting.litert import LITERT, LITERT_INT8
from fmnist_sweep.exporting.onnx import ONNX
from fmnist_sweep.exporting.saved_model import SAVED_MODEL

FORMATS = {known.name: known for known in (KERAS, SAVED_MODEL, ONNX, LITERT, LITERT_INT8)}
ALL = tuple(name for name, known in FORMATS.items() if known.exact)
PREFERRED = (KERAS, ONNX, LITERT, SAVED_MODEL, LITERT_INT8)  # by which predict chooses


def chosen(names: Iterable[str]) -> list[Format]:
    """The formats that the user named, each once; ``all`` stands for those that give what the original gives.

    Raises:
        UsageError: An unknown name.
        ExportError: A package that one of them needs is not installed.
    """
    given = [one for name in names for one in (ALL if name == "all" else (name,))]
    for name in given:
        if name not in FORMATS:
            raise UsageError(f"--format {name!r} is unknown; valid: {', '.join(FORMATS)}, or all ({', '.join(ALL)})")
    wanted = [FORMATS[name] for name in dict.fromkeys(given)]
    for one in wanted:
        if absent := missing(one.needs):
            raise ExportError(f"--format {one.name} needs {absent}, which is not installed; {EXTRA}")
    return wanted


def missing(modules: Iterable[str]) -> str:
    """The modules that are not installed, for people; "" if all are."""
    return " and ".join(name for name in modules if find_spec(name) is None)
