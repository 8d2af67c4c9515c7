"""The simulated calibration of the verdicts, through the same command as the other benchmarks."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from typing import Any, TextIO

from benchmarks.calibration_simulated import calibrate
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result

NAME = "calibration"


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    pairs = options.pick(options.repeats, 2_000, 8)
    return {"pairs": pairs, "draws": 500 if options.quick else 2_000, "seed": 0}


def run(options: Options, record: Record) -> Result:
    """Simulates, and keeps what was printed."""
    chosen = settings(options)
    text = record.once("simulated", lambda: {"text": _printed(chosen)})["text"]
    return Result(
        name=NAME,
        about=(
            f"Nets of known accuracy, simulated, n={chosen['pairs']} pairs each (a quarter for families): do the 95 % "
            "intervals hold the truth, and how often is a verdict false?"
        ),
        figures=chosen | {"text": text.splitlines()},
        lines=(f"```text\n{text.rstrip()}\n```",),
        quick=options.quick,
    )


class _Both(io.StringIO):
    """Keeps what is printed, and shows it."""

    def __init__(self, shown: TextIO) -> None:
        super().__init__()
        self._shown = shown

    def write(self, text: str) -> int:
        self._shown.write(text)
        return super().write(text)


def _printed(chosen: dict[str, Any]) -> str:
    with redirect_stdout(_Both(sys.stderr)) as printed:
        calibrate(chosen["pairs"], chosen["draws"], chosen["seed"])
    return printed.getvalue()
