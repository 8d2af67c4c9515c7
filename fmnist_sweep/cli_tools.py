"""The commands for sweeps, models and data; see ``cli_studies``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmnist_sweep.app import app, console, finish, print_json, told
from fmnist_sweep.options import (
    HOME,
    DataDir,
    Epochs,
    Home,
    Json,
    Quiet,
    Seed,
    Study,
    Sweep,
    Tracking,
    TrainImages,
    Verbose,
    Workers,
    settings_of,
    whole,
)


@app.command()
@told
def preview(
    sweep: Sweep = "",
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", parser=whole(1), help="For the estimate.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", parser=whole(1), help="Nets to show.")] = 10,
    home: Home = HOME,
    data_dir: DataDir = None,
    seed: Seed = None,
    workers: Workers = "auto",
    epochs: Epochs = None,
    train_images: TrainImages = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Sample a sweep without training: nets, sizes, estimated time."""
    from fmnist_sweep.commands import preview as command

    settings = settings_of(
        home, "", sweep, data_dir, seed=seed, workers=workers, epochs=epochs, train_images=train_images
    )
    finish(command.preview(settings, trials, samples, console(quiet)), as_json)


@app.command()
@told
def export(
    study: Study = "",
    sweep: Sweep = "",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="best|champion|N|NAME",
            help="The search's best, the finals' champion, a trial's number, a lab net's name.",
        ),
    ] = "best",
    formats: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME,...", help="keras, saved_model, onnx, litert, or all of these; litert-int8."
        ),
    ] = "keras",
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The folder to make.")] = None,
    home: Home = HOME,
    data_dir: DataDir = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write the chosen model as a folder, checked against the original."""
    from fmnist_sweep.commands import export as command

    settings = settings_of(home, study, sweep, data_dir)
    names = [name.strip() for name in formats.split(",")]
    done = command.export(settings, model, names, out, console(quiet))
    finish(done, as_json, 1 if done["refused"] else 0)


@app.command()
@told
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The folder of an exported model, or its name in HOME/exports.")
    ],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Image files, .npy arrays or IDX files.")],
    invert: Annotated[
        bool, typer.Option("--invert", help="Dark clothes on a light ground, as in photographs.")
    ] = False,
    home: Home = HOME,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Classify images with an exported model."""
    from fmnist_sweep.commands import predict as command

    exports = settings_of(home).home.exports
    finish(command.predict(model, inputs, exports=exports, invert=invert, console=console(quiet)), as_json)


@app.command()
@told
def ui(
    study: Study = "",
    sweep: Sweep = "",
    home: Home = HOME,
    tracking_uri: Tracking = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="On 127.0.0.1; 0 for a free one.")] = 5000,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Start MLflow's server on the local store and open the comparison."""
    from fmnist_sweep.commands import ui as command

    settings = settings_of(home, study, sweep, tracking_uri=tracking_uri)
    command.ui(
        settings,
        port=port,
        browser=not (no_browser or as_json),  # one in this very terminal would write after the JSON
        console=console(quiet),
        ready=lambda addresses: print_json(addresses) if as_json else None,
    )


@app.command()
@told
def data(
    sweep: Annotated[
        str, typer.Option("--sweep", metavar="NAME|FILE", help="The images that this sweep names, if it does.")
    ] = "",
    data_dir: DataDir = None,
    home: Home = HOME,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Find or fetch the data set and verify its checksums."""
    from fmnist_sweep.commands import listing

    finish(listing.data(settings_of(home, sweep=sweep, data_dir=data_dir), console(quiet)), as_json)


@app.command()
@told
def sweeps(
    home: Home = HOME,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """List the shipped sweeps, what each is for, and which have a study of their name here."""
    from fmnist_sweep.commands import listing

    finish(listing.sweeps(settings_of(home), console(quiet)), as_json)
