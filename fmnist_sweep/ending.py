"""How a run is asked to end, and how it ended; and when failures are more than bad luck."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Literal

from fmnist_sweep.errors import FatalError

Outcome = Literal["done", "exhausted", "flat", "interrupted", "timeout"]

_DEATHS = 3
_LOSSES = 10  # of nodes under one job: more than chance, so it may be what takes them down
_ERRORS_IN_A_ROW = 3


class Stopping(enum.IntEnum):
    """How urgently the user wants it to end."""

    NO = 0
    AT_NEXT_REPORT = 1
    NOW = 2


class Failures:
    """What has gone wrong in a run so far."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._deaths: dict[tuple[str, bool], int] = {}

    def none(self) -> None:
        """A job did well."""
        self._in_a_row = 0

    def error(self, key: str, message: str, log: Path) -> None:
        """A job raised, or its workers died time and again.

        Args:
            key: The job's.
            message: How.
            log: Where the workers' libraries print.

        Raises:
            FatalError: So many in a row have failed that it is not theirs.
        """
        self._in_a_row += 1
        if self._in_a_row >= _ERRORS_IN_A_ROW:
            told = f"{self._in_a_row} jobs in a row failed, the last ({key}) with {message}"
            raise FatalError(f"{told}; what they printed is in {log}")

    def death(self, key: str, *, lost: bool) -> int:
        """A job's worker died.

        Args:
            key: The job's.
            lost: Whether its node was lost with it.

        Returns:
            How often that has happened to it, once it is not to be tried again; else 0.
        """
        deaths = self._deaths[key, lost] = self._deaths.get((key, lost), 0) + 1
        return deaths if deaths >= (_LOSSES if lost else _DEATHS) else 0
