"""A study's identity: made once, written into its ledger, and compared with what the user asks for later."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from fmnist_sweep import config as sweeps
from fmnist_sweep import provenance
from fmnist_sweep.addresses import masked
from fmnist_sweep.data import DataSource, PreparedData
from fmnist_sweep.errors import DamagedLedgerError, StorageError, StudyError, TrackingError, UsageError
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event, Ledger, damaged, readable
from fmnist_sweep.schema import Engine, SweepConfig
from fmnist_sweep.settings import Settings
from fmnist_sweep.sqlite_birth import at, file_of
from fmnist_sweep.state import StudyState, with_changes

DEFAULT_SWEEP = "default"
# What may change between runs of one study. Files may move: what they hold is compared by its fingerprint.
_FREE = {"title", "study.trials", "study.keep_models", "study.patience", "lab.variants"}
_FREE |= {f"data.{key}" for key in ("train", "validation", "test", "name", "about")}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study is to be: the sweep with the user's changes.

    Attributes:
        name: Of the study.
        sweep: Name of the sweep.
        config: With ``--epochs`` and ``--train-images`` worked in.
        seed: Of everything drawn.
        epochs: Asked for in place of the sweep's, now or when the study began; None for the sweep's own.
    """

    name: str
    sweep: str
    config: SweepConfig
    seed: int
    epochs: int | None = None


def plan(settings: Settings, fresh: bool = False) -> Plan:
    """Reads the sweep and works the user's options into it; what is not given is as the study has it.

    A study goes on as it was begun unless its sweep is named, whatever a newer release says in the sweep's file.

    Args:
        settings: The user's options.
        fresh: Whether the study of that name will be put aside, so that a damaged ledger does not matter. A new one is
            as its sweep has it, or as the old one was where that alone is named.

    Raises:
        UsageError: No such sweep.
        ConfigError: Mistakes in its file.
        LedgerError: The study's ledger can't be read.
    """
    named = settings.study or ("" if settings.sweep or fresh else DEFAULT_SWEEP)
    old = stored(settings, named, fresh) if named else {}
    if fresh and settings.study and not (settings.sweep or old) and settings.home.study(settings.study).exists:
        raise UsageError(f"nothing can be read of study {settings.study!r}; say with --sweep what to start anew")
    if settings.sweep or not old:
        sweep, config = sweeps.load(settings.sweep or DEFAULT_SWEEP)
    else:
        sweep, config = old["sweep"], SweepConfig.model_validate(old["config"])
    name = settings.study or (named if old else sweep)
    old = old or stored(settings, name, fresh)
    if fresh and (settings.sweep or not settings.study):  # the sweep anew; else the study anew, as it was
        old = {}
    epochs = settings.epochs or old.get("options", {}).get("epochs")
    train_images = settings.train_images or old.get("options", {}).get("train_images") or config.data.train_images
    config = config.changed(epochs=epochs)
    config = config.model_copy(update={"data": config.data.model_copy(update={"train_images": train_images})})
    engine = settings.engine or old.get("options", {}).get("engine")
    if engine:
        config = with_engine(config, engine)
    elif settings.sweep or not old:
        begun_without = old.get("config", {}).get("fidelity") == config.fidelity.model_dump(mode="json")
        config = (
            config if begun_without else with_engine(config, config.study.engine)
        )  # older releases left it as it was
    patience = old.get("patience") if settings.patience is None else settings.patience
    if patience is not None:
        config = config.model_copy(update={"study": config.study.model_copy(update={"patience": patience})})
    seed = settings.seed if settings.seed is not None else old.get("seed", 0)
    return Plan(name, sweep, config, seed, epochs)


def with_engine(config: SweepConfig, engine: Engine) -> SweepConfig:
    """The same sweep searched by another engine."""
    changed = config.model_copy(update={"study": config.study.model_copy(update={"engine": engine})})
    if engine != "keras-tuner-hyperband":
        return changed
    fidelity = config.fidelity.model_copy(update={"pruner": "none", "rungs": [1.0], "full_training": "at_once"})
    return changed.model_copy(update={"fidelity": fidelity})


def stored(settings: Settings, name: str, damaged_too: bool = False) -> dict[str, Any]:
    """The identity that a study under home has, with what may change as its last run had it; empty if there is none.

    Raises:
        LedgerError: Its ledger can't be read.
    """
    folder = settings.home.study(name)
    if not folder.exists:
        return {}
    events, _ = recorded(folder, damaged_too)
    first = next((event.body for event in events if event.kind == "study"), {})
    found = dict(first)
    for run in (event.body for event in events if event.kind == "session"):
        found |= {"patience": run["patience"]} if "patience" in run else {}
        if "free" in run and "config" in found:
            found["config"] = with_changes(found["config"], run["free"])
    return found


def free(config: SweepConfig) -> dict[str, Any]:
    """What of a sweep may change between runs of one study, by dotted key; the patience is told apart."""
    flat = dict(_flat("", config.model_dump(mode="json")))
    return {key: flat[key] for key in sorted(_FREE - {"study.patience"}) if key in flat}


def opened(folder: StudyFolder) -> Ledger:
    """Opens the ledger of a study, or begins one.

    Raises:
        DamagedLedgerError: It is damaged, or there are jobs that it knows nothing of.
        LedgerError: It can't be used.
    """
    ledger = Ledger(folder.ledger)
    if not ledger.last() and folder.has_jobs:
        ledger.close()
        raise damaged(folder.ledger, "it is empty, though jobs were trained")
    return ledger


def recorded(folder: StudyFolder, damaged_too: bool = False) -> tuple[list[Event], bool]:
    """The events of a study's ledger, and whether that is whole.

    Args:
        folder: The study's.
        damaged_too: Whether to be content with what can be read of a damaged one.

    Raises:
        LedgerError: It can't be read.
    """
    try:
        with closing(opened(folder)) as ledger:
            return ledger.events(), True
    except DamagedLedgerError:
        if not damaged_too:
            raise
        return readable(folder.ledger), False


def read(settings: Settings, name: str) -> StudyState:
    """The state of an existing study.

    Raises:
        StudyError: There is none of that name, or nothing in it yet.
    """
    folder = settings.home.study(name)
    if not folder.exists:
        known = ", ".join(settings.home.studies()) or "none yet"
        raise StudyError(f"--study {name!r}: no such study in {settings.home.path}; there: {known}")
    ledger = Ledger(folder.ledger)
    try:
        state = StudyState.of(ledger.events())
    finally:
        ledger.close()
    if not state.study:
        raise StudyError(f"study {name!r} is only just beginning; ask again in a minute, or run it again")
    state.study = {**state.study, "name": name}  # one that was put aside is called otherwise than when it began
    return state


def storage_address(settings: Settings) -> str:
    """Where Optuna's storage is, as the ledger has it: without a password, and "" for the one under home."""
    path = file_of(settings.optuna)
    if path is not None and path.resolve() == file_of(settings.home.optuna_uri):
        return ""
    return masked(settings.optuna if path is None else at(settings.optuna, path.resolve()))


def at_its_storage(settings: Settings, recorded: str | None) -> Settings:
    """``settings`` with the storage that a study was run with, where the user names none.

    Args:
        settings: The user's options.
        recorded: ``storage_address`` at the study's last run; None where that is not known.

    Raises:
        StorageError: Its address had a password, which is nowhere kept.
    """
    if settings.storage or not recorded:
        return settings
    if "***" in recorded:
        raise StorageError(f"the study was run with --storage {recorded}; name it again, as no password is kept")
    return replace(settings, storage=recorded)


def shown_at(settings: Settings, state: StudyState) -> Settings:
    """The options with the tracking server that shows the study, where none is named.

    Raises:
        TrackingError: Its address had a password, which is nowhere kept.
    """
    recorded = state.views.get("tracking_uri", "")
    if settings.tracking_uri or not recorded:
        return settings
    if "***" in recorded:
        raise TrackingError(f"the study is shown at {recorded}; name it with --tracking-uri, as no password is kept")
    return replace(settings, tracking_uri=recorded)


def begin(
    ledger: Ledger, planned: Plan, settings: Settings, source: DataSource, data: PreparedData, *, search: bool = True
) -> dict[str, Any]:
    """Writes the identity into a new ledger, or checks that an old one's is the same.

    Args:
        ledger: The study's.
        planned: What is wanted.
        settings: The user's options.
        source: Of the images.
        data: The images.
        search: Whether the command is one that searches, and so can leave a sweep out or begin anew.

    Returns:
        The identity.

    Raises:
        StudyError: The ledger is of a study with another space, seed or data.
    """
    wanted = _identity(planned, settings, source, data)
    ledger.append("study", **wanted)
    found = next(event.body for event in ledger.events(limit=8) if event.kind == "study")
    differences = list(_differences(_compared(found), _compared(wanted)))
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        advice = (
            f"leave --sweep out (--study {planned.name}) to go on as it was begun, choose another "
            "--study, or --fresh to start anew and keep the old one under another name"
            if search
            else "or choose another --study"
        )
        raise StudyError(f"study {planned.name!r} exists with other settings: {shown}. Ask for the same, {advice}")
    return found


def _identity(planned: Plan, settings: Settings, source: DataSource, data: PreparedData) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "name": planned.name,
        "sweep": planned.sweep,
        "title": planned.config.title,
        "seed": planned.seed,
        "config": planned.config.model_dump(mode="json"),
        "options": {"epochs": settings.epochs, "train_images": settings.train_images, "engine": settings.engine},
        "train_images": data.train_images,
        "data": data.fingerprint,
        "data_set": {
            "name": source.name,
            "about": source.about,
            "fingerprint": data.fingerprint,
            "files": dict(source.md5),
            "image_shape": list(data.image_shape),
            "classes": list(data.class_names),
            "training": data.train_images,
            "validation": data.validation_images,
        },
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "environment": provenance.environment(),
        "git_commit": provenance.git_commit(),
        "created": time.time(),
    }


def _compared(identity: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every run of a study, by dotted key."""
    config = SweepConfig.model_validate(identity["config"]).model_dump(
        mode="json"
    )  # a key that came later: its default
    flat = dict(_flat("", {**config, "seed": identity["seed"], "data files": identity["data"]}))
    flat["data.train_images"] = identity["train_images"]
    return {key: value for key, value in flat.items() if key not in _FREE}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    else:
        yield prefix, value


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"{key} was {old.get(key, 'not set')}, now {new.get(key, 'not set')}"
