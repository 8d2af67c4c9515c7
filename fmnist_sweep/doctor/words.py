"""How the doctor names things to people."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 3


def few(names: Sequence[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def count(number: int, thing: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
