"""What was found in MLflow and in Optuna's storage, as plain values: what the doctor compares with the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fmnist_sweep.views.shown import Curve

Place = Literal["here", "deleted", "missing", "another's"]


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run that is not deleted.

    Attributes:
        run_id: Its id.
        status: As MLflow names it.
        params: As MLflow has them.
        tags: As MLflow has them.
        metrics: The last value of each.
        curves: By name; only of runs that the ledger knows.
        models: Ids of the logged models that it shows.
    """

    run_id: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A logged model that is not deleted.

    Attributes:
        model_id: Its id.
        run_id: The run that it came from.
        status: As MLflow names it.
        sha256: Of the weights, as its tag says; "" where it has none.
        whole: Whether its files are there.
    """

    model_id: str
    run_id: str
    status: str
    sha256: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Champion:
    """The model version that the alias points at.

    Attributes:
        version: Its number.
        source: Address of its model.
        tags: Of the version, as ``publish.crown`` set them.
        alive: Whether its model and that model's files are there.
    """

    version: str
    source: str
    tags: Mapping[str, str]
    alive: bool


@dataclass(frozen=True, slots=True)
class SeenMlflow:
    """One study in MLflow.

    Attributes:
        experiment: Whether the ledger's experiment is there.
        runs: By id, the experiment's runs that are not deleted.
        deleted: Ids of the ledger's runs that are deleted and can be restored.
        models: By id, the logged models of these runs.
        files: Names of the files of the run that stands for the study.
        champion: What the alias points at; None where it points at nothing.
    """

    experiment: Place
    runs: Mapping[str, SeenRun] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    models: Mapping[str, SeenModel] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    champion: Champion | None = None


@dataclass(frozen=True, slots=True)
class SeenTrial:
    """A trial in Optuna's storage.

    Attributes:
        number: As Optuna counts.
        state: As Optuna names it.
        params: By name.
        value: Of a complete one.
        curve: By step, what was reported.
        attrs: The user's attributes.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    value: float | None
    curve: Mapping[int, float]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SeenOptuna:
    """One study in Optuna's storage.

    Attributes:
        study: Whether the study of that name is there and is this one.
        trials: In Optuna's order.
    """

    study: Place
    trials: tuple[SeenTrial, ...] = ()
