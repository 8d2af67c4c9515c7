"""The options that mean the same in every command, and what they must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from fmnist_sweep.errors import UsageError

if TYPE_CHECKING:
    from fmnist_sweep.settings import Settings


def whole(low: int, high: int | None = None) -> Callable[[str | int], int]:
    """Reads a whole number of ``low`` or more, and of ``high`` at most, with an error that says so."""

    def parse(given: str | int) -> int:
        text = str(given)  # a default comes as the number that it is
        if not re.fullmatch(r"[0-9]+", text) or not low <= int(text) <= (int(text) if high is None else high):
            valid = f"of {low} or more" if high is None else f"from {low} to {high}"
            raise typer.BadParameter(f"{text!r}; valid: a whole number {valid}")
        return int(text)

    return parse


def folder(given: str | Path) -> Path:
    """Reads a folder's name; an empty one would be where the user stands."""
    if not str(given):
        raise typer.BadParameter("''; valid: a folder")
    return Path(given)


Home = Annotated[
    Path,
    typer.Option("--home", metavar="DIR", envvar="FMNIST_SWEEP_HOME", parser=folder, help="Where everything is kept."),
]
Study = Annotated[str, typer.Option("--study", metavar="NAME", help="The study; as a rule named like its sweep.")]
Sweep = Annotated[
    str,
    typer.Option(
        "--sweep", metavar="NAME|FILE", help="A shipped sweep, or a .toml file; default: the study's own, else default."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", envvar="FMNIST_DATA_DIR", parser=folder, help="Where the data set's files are."
    ),
]
Tracking = Annotated[
    str,
    typer.Option(
        "--tracking-uri", metavar="URI", envvar="MLFLOW_TRACKING_URI", help="MLflow; by default SQLite under home."
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        "--storage", metavar="URI", envvar="FMNIST_SWEEP_STORAGE", help="Optuna's; by default SQLite under home."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", parser=whole(0, 2**31 - 1), help="Of everything drawn; 0 for a new study."),
]
Workers = Annotated[str, typer.Option("--workers", metavar="N|auto", help="Nets trained at the same time.")]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="local|ray|inline",
        envvar="FMNIST_SWEEP_EXECUTOR",
        help="Processes, a Ray cluster, or this process (for debugging).",
    ),
]
RayAddress = Annotated[
    str,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        envvar="FMNIST_SWEEP_RAY_ADDRESS",
        help="Of a Ray cluster; by default one of this machine.",
    ),
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Time for the study in all, as 90s, 45m or 2h.")
]
FinalsTimeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Time for this command, as 90s, 45m or 2h.")
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", parser=whole(1, 10_000), help="Instead of the sweep's.")
]
TrainImages = Annotated[
    int | None,
    typer.Option("--train-images", metavar="N", parser=whole(1), help="A smaller training set, for trying out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors alone.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print the traceback of an error.")]

HOME = Path("fmnist_runs")


def settings_of(
    home: Path,
    study: str = "",
    sweep: str = "",
    data_dir: Path | None = None,
    tracking_uri: str = "",
    storage: str = "",
    seed: int | None = None,
    workers: str = "auto",
    executor: str = "local",
    timeout: str = "",
    epochs: int | None = None,
    train_images: int | None = None,
    engine: str = "",
    patience: int | None = None,
    ray_address: str = "",
) -> Settings:
    """The options as one value.

    Raises:
        UsageError: One of them is none of its valid values.
    """
    from fmnist_sweep.addresses import entrusted
    from fmnist_sweep.home import Home as HomeFolder
    from fmnist_sweep.schema import Engine
    from fmnist_sweep.settings import ExecutorName, Settings
    from fmnist_sweep.views.mlflow_client import keep_artifacts_in

    if engine and engine not in get_args(Engine):
        raise UsageError(f"--engine is {engine!r}; valid: {', '.join(get_args(Engine))}")
    if executor not in get_args(ExecutorName):
        raise UsageError(f"--executor is {executor!r}; valid: {', '.join(get_args(ExecutorName))}")
    if ray_address and executor != "ray":
        raise UsageError(f"--ray-address is {ray_address!r}; it needs --executor ray")
    if workers != "auto" and (not workers.isdecimal() or not 1 <= int(workers) <= 1024):
        raise UsageError(f"--workers is {workers!r}; valid: auto, or a whole number from 1 to 1024")
    keep_artifacts_in(HomeFolder(home))
    return Settings(
        home=HomeFolder(home),
        study=study,
        sweep=sweep,
        data_dir=data_dir,
        tracking_uri=entrusted(tracking_uri),
        storage=storage,
        seed=seed,
        workers=0 if workers == "auto" else int(workers),
        executor=cast("ExecutorName", executor),
        ray_address=ray_address,
        timeout_s=seconds("--timeout", timeout) if timeout else None,
        patience=patience,
        epochs=epochs,
        train_images=train_images,
        engine=cast("Engine", engine) if engine else None,
    )


def seconds(name: str, text: str) -> float:
    """A length of time such as ``90s``, ``45m``, ``1.5h`` in seconds.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"{name} is {text!r}; valid: a time such as 90s, 45m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]
