"""How a run is asked to end, and how it ended; and when failures are more than bad luck."""

from __future__ import annotations

import enum
from typing import Literal

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
        self.errors_in_a_row = 0
        self._deaths: dict[tuple[str, bool], int] = {}

    def none(self) -> None:
        """A job did well."""
        self.errors_in_a_row = 0

    def error(self) -> bool:
        """A job raised; whether so many in a row have that it is not theirs."""
        self.errors_in_a_row += 1
        return self.errors_in_a_row >= _ERRORS_IN_A_ROW

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
