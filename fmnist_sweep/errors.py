"""The errors of the sweep, one tree.

    SweepError                  anything this package raises on purpose
    ├── UsageError              the caller's mistake: exit code 2
    │   ├── SpecError           a net or a recipe that can't exist
    │   └── ConfigError         a sweep file with mistakes, all of them at once
    ├── FatalError              the sweep can't go on: exit code 1
    │   ├── DataError           data missing, truncated or altered
    │   ├── HomeError           the home folder can't be used
    │   ├── LedgerError         the ledger can't be read or written
    │   │   └── DamagedLedgerError  it holds something else than what was written
    │   ├── StudyError          the study is locked, or was made with another search space
    │   ├── StorageError        Optuna's storage can't be used
    │   ├── TrackingError       the tracking server can't be used
    │   └── ExportError         a model that can't be exported or read back
    └── TrialError              one trial failed: recorded, the sweep goes on
        └── Diverged            the loss became infinite or NaN

A message is one line for a person: it names the thing, the value and what would be valid.
"""

from __future__ import annotations


class SweepError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(SweepError):
    """The caller asked for something that makes no sense."""

    exit_code = 2


class SpecError(UsageError):
    """An architecture or a training recipe that can't exist."""


class ConfigError(UsageError):
    """A sweep file with mistakes; ``mistakes`` holds one line for each."""

    def __init__(self, source: str, mistakes: list[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {line}" for line in mistakes)]))


class FatalError(SweepError):
    """The sweep can't go on; what was recorded so far is safe."""


class DataError(FatalError):
    """The data set is missing, truncated or altered."""


class HomeError(FatalError):
    """The home folder can't be read or written."""


class LedgerError(FatalError):
    """The ledger can't be read or written."""


class DamagedLedgerError(LedgerError):
    """The ledger holds something else than what was written."""


class StudyError(FatalError):
    """The study is in use, or was made with other settings."""


class StorageError(FatalError):
    """Optuna's storage can't be used."""


class TrackingError(FatalError):
    """MLflow's tracking server or store can't be used."""


class ExportError(FatalError):
    """A model that can't be exported, or an export that can't be read back."""


class TrialError(SweepError):
    """One trial failed; it is recorded and the sweep goes on."""


class Diverged(TrialError):  # noqa: N818
    """The loss of a trial became infinite or NaN."""


def first_line(error: BaseException) -> str:
    """What an error of any library says, in one line for people."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
