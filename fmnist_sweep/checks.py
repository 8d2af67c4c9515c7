"""Checks that values make of themselves at birth: the message names the thing, the value and what is valid."""

from __future__ import annotations

from collections.abc import Collection

from fmnist_sweep.errors import SpecError


def one_of(name: str, value: object, choices: Collection[object]) -> None:
    """Raises SpecError unless ``value`` is one of ``choices``."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise SpecError(f"{name} is {value!r}; valid: {', '.join(repr(choice) for choice in choices)}")


def whole(name: str, value: object, low: int, high: int) -> None:
    """Raises SpecError unless ``value`` is an int of ``low`` to ``high``, both included."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SpecError(f"{name} is {value!r}; valid: a whole number from {low} to {high}")


def real(name: str, value: object, low: float, high: float, *, open_high: bool = False) -> None:
    """Raises SpecError unless ``value`` is finite and in [low, high] (or [low, high) with ``open_high``)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (open_high and value == high):  # type: ignore[operator]
        span = f"{low:g} to {'below ' if open_high else ''}{high:g}"
        raise SpecError(f"{name} is {value!r}; valid: a number from {span}")


def flag(name: str, value: object) -> None:
    """Raises SpecError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise SpecError(f"{name} is {value!r}; valid: true, false")
