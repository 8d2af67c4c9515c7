"""What the doctor finds, and how each thing could be mended: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "ledger",  # it can't be read, or contradicts itself
    "in use",  # a driver holds the study, so nothing is mended
    "unreachable",  # MLflow or Optuna's storage can't be read
    "behind",  # a view was not told all that the ledger has
    "zombie",  # said to be running, and nothing runs
    "missing",  # in the ledger, and not where it belongs
    "orphan",  # there, and unknown to the ledger
    "duplicate",  # there twice
    "state",  # ended otherwise than the ledger says
    "curve",
    "params",
    "tags",
    "metrics",
    "model",  # a logged model is gone or not whole
    "half-logged model",
    "checksum",  # a file that is missing or was altered
    "champion",  # the alias points at nothing, or at what is gone
    "scratch",  # left over from a process that was killed
]

# In the order in which they are done: what others build on comes first.
How = Literal[
    "pause",  # a job that no worker trains waits for the next run
    "keep",  # a job's weights are marked as kept
    "drop",  # a job's weights are no longer counted as kept
    "restore experiment",
    "begin MLflow anew",  # the experiment is gone for good
    "restore run",
    "delete run",
    "replace run",  # by one that shows what the ledger says, as MLflow lets nobody change a value
    "show in MLflow",
    "show in Optuna",
    "replace in Optuna",
    "catch up",
    "recover weights",  # from the model that MLflow has
    "delete model",
    "link model",  # a run shows a model that is logged already
    "log model",
    "crown",
    "remove file",
    "set aside",
]


@dataclass(frozen=True, slots=True)
class Mend:
    """One repair, which does no harm when it is done twice.

    Attributes:
        how: What is done.
        target: To what: a job, a run's or a model's id, a file; "" for the study.
    """

    how: How
    target: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree.

    Attributes:
        kind: Of what sort.
        what: One line for people.
        mend: How it is mended; None where only people can.
        advice: What people can do where nothing mends it.
    """

    kind: Kind
    what: str
    mend: Mend | None = None
    advice: str = ""
