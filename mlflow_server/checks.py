"""Checks that several settings share."""

from __future__ import annotations

import re

from mlflow_server.errors import SettingsError


def check_number(name: str, value: int, low: int, high: int) -> None:
    """Refuses what is no whole number from ``low`` to ``high``.

    Raises:
        SettingsError: It isn't.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}; valid: {low} to {high}")


def check_pattern(name: str, value: str, pattern: str, valid: str) -> None:
    """Refuses what does not match ``pattern``, and what is nothing but a wildcard.

    Raises:
        SettingsError: It does not, or it is.
    """
    if "*" in value and not re.search(r"[A-Za-z0-9]", value.removeprefix("https").removeprefix("http")):
        raise SettingsError(f"{name} has {value!r}, which lets everybody in; valid: {valid}")
    if not re.fullmatch(pattern, value):
        raise SettingsError(f"{name} has {value!r}; valid: {valid}")
