"""The commands for studies; each loads what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmnist_sweep.app import app, console, finish, told
from fmnist_sweep.options import (
    HOME,
    DataDir,
    Epochs,
    ExecutorOption,
    FinalsTimeout,
    Home,
    Json,
    Quiet,
    RayAddress,
    Seed,
    Storage,
    Study,
    Sweep,
    Timeout,
    Tracking,
    TrainImages,
    Verbose,
    Workers,
    settings_of,
    whole,
)


@app.command()
@told
def run(
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", parser=whole(1), help="Trials in all, earlier runs counted.")
    ] = None,
    sweep: Sweep = "",
    study: Study = "",
    home: Home = HOME,
    data_dir: DataDir = None,
    tracking_uri: Tracking = "",
    storage: Storage = "",
    seed: Seed = None,
    workers: Workers = "auto",
    executor: ExecutorOption = "local",
    ray_address: RayAddress = "",
    timeout: Timeout = "",
    epochs: Epochs = None,
    train_images: TrainImages = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="optuna, keras-tuner-random, keras-tuner-bayesian or keras-tuner-hyperband; else the sweep's.",
        ),
    ] = "",
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            parser=whole(0),
            help="Stop once N trials in a row brought no better champion; 0 for never. A resumed study keeps its own.",
        ),
    ] = None,
    no_lab: Annotated[bool, typer.Option("--no-lab", help="Leave out the lab's nets.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; the old study gets another name.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Run or resume a study until N trials have ended."""
    from fmnist_sweep.commands import run as command

    settings = settings_of(
        home,
        study,
        sweep,
        data_dir,
        tracking_uri,
        storage,
        seed,
        workers,
        executor,
        timeout,
        epochs,
        train_images,
        engine,
        patience,
        ray_address,
    )
    ended = command.run(settings, trials, with_lab=not no_lab, fresh=fresh, quiet=quiet, console=console())
    finish(ended.result, as_json, ended.code)


@app.command()
@told
def lab(
    variants: Annotated[
        str, typer.Option("--variants", metavar="NAME,...", help="The lab's nets to train, or all.")
    ] = "all",
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", parser=whole(1), help="Seeds for each net.")] = 1,
    study: Study = "lab",
    home: Home = HOME,
    data_dir: DataDir = None,
    tracking_uri: Tracking = "",
    storage: Storage = "",
    seed: Seed = None,
    workers: Workers = "auto",
    executor: ExecutorOption = "local",
    ray_address: RayAddress = "",
    timeout: Timeout = "",
    epochs: Epochs = None,
    train_images: TrainImages = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Train the lab's hand-built nets alone."""
    from fmnist_sweep.commands import run as command

    settings = settings_of(
        home,
        study,
        "",
        data_dir,
        tracking_uri,
        storage,
        seed,
        workers,
        executor,
        timeout,
        epochs,
        train_images,
        ray_address=ray_address,
    )
    names = [name.strip() for name in variants.split(",")]
    ended = command.run_lab(settings, names, seeds, quiet=quiet, console=console())
    finish(ended.result, as_json, ended.code)


@app.command()
@told
def compare(
    study: Study = "",
    sweep: Sweep = "",
    top: Annotated[
        int,
        typer.Option("--top", metavar="K", parser=whole(1), help="Finalists: the K best trials, by their last steps."),
    ] = 3,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", parser=whole(2), help="Seeds that each net is trained under.")
    ] = 6,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write each net's curves for TensorBoard, under home.")
    ] = False,
    home: Home = HOME,
    data_dir: DataDir = None,
    tracking_uri: Tracking = "",
    storage: Storage = "",
    workers: Workers = "auto",
    executor: ExecutorOption = "local",
    ray_address: RayAddress = "",
    timeout: FinalsTimeout = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Judge the best trials and the lab's nets: same seeds, test set, verdicts."""
    from fmnist_sweep.commands import compare as command

    settings = settings_of(
        home,
        study,
        sweep,
        data_dir,
        tracking_uri,
        storage,
        None,
        workers,
        executor,
        timeout,
        ray_address=ray_address,
    )
    ended = command.compare(settings, top, seeds, curves=tensorboard, quiet=quiet, console=console())
    finish(ended.result, as_json, ended.code)


@app.command()
@told
def status(
    study: Study = "",
    sweep: Sweep = "",
    home: Home = HOME,
    tracking_uri: Tracking = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow a running study.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Show a study's trials and the best so far."""
    from fmnist_sweep.commands import status as command

    settings = settings_of(home, study, sweep, tracking_uri=tracking_uri)
    finish(command.status(settings, watch=watch, console=console(quiet)), as_json)


@app.command()
@told
def report(
    study: Study = "",
    sweep: Sweep = "",
    home: Home = HOME,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page, .md beside it; by default HOME/reports/STUDY.html."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write a study's report: one HTML page for any browser, and Markdown."""
    from fmnist_sweep.commands import report as command

    finish(command.write(settings_of(home, study, sweep), out, console(quiet)), as_json)


@app.command()
@told
def doctor(
    study: Annotated[str, typer.Option("--study", metavar="NAME", help="One study; default: all of the home.")] = "",
    home: Home = HOME,
    data_dir: DataDir = None,
    tracking_uri: Tracking = "",
    storage: Storage = "",
    fix: Annotated[bool, typer.Option("--fix", help="Mend from the ledger what can be mended.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Check ledger, files, Optuna and MLflow against each other."""
    from fmnist_sweep.commands import doctor as command

    settings = settings_of(home, study, "", data_dir, tracking_uri, storage)
    ended = command.doctor(settings, fix=fix, console=console(quiet))
    finish(ended.result, as_json, ended.code)
