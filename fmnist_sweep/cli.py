"""The command line: the only place that parses options, prints results and chooses exit codes.

Each command loads what it needs when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_sweep.errors import SweepError, UsageError
from fmnist_sweep.options import (
    HOME,
    DataDir,
    Epochs,
    ExecutorOption,
    Home,
    Json,
    Quiet,
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

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="fmnist-sweep",
    help="Searches over architectures and hyperparameters of image classifiers, with an honest answer.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turns errors into a line and an exit code; tracebacks are for ``-v``."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except SweepError as error:
            if options.get("verbose"):
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()  # whoever read the output has gone
            raise typer.Exit(1) from None
        except typer.Exit:
            raise
        except Exception as error:
            if options.get("verbose"):
                traceback.print_exc()
            first = (str(error).splitlines() or [""])[0]
            typer.echo(f"error: {type(error).__name__}: {first} (-v shows the traceback)", err=True)
            raise typer.Exit(1) from None

    return wrapped


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
    )
    ended = command.run(settings, trials, with_lab=not no_lab, fresh=fresh, quiet=quiet, console=_console())
    _finish(ended.result, as_json, ended.code)


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
        home, study, "default", data_dir, tracking_uri, storage, seed, workers, executor, timeout, epochs, train_images
    )
    names = [name.strip() for name in variants.split(",")]
    ended = command.run_lab(settings, names, seeds, quiet=quiet, console=_console())
    _finish(ended.result, as_json, ended.code)


@app.command()
@told
def compare(
    study: Study = "",
    sweep: Sweep = "",
    top: Annotated[int, typer.Option("--top", metavar="K", parser=whole(1), help="Finalists: the best K trials.")] = 3,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", parser=whole(2), help="Seeds that each net is trained under.")
    ] = 6,
    home: Home = HOME,
    data_dir: DataDir = None,
    tracking_uri: Tracking = "",
    storage: Storage = "",
    workers: Workers = "auto",
    executor: ExecutorOption = "local",
    timeout: Timeout = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Judge the best trials and the lab's nets: same seeds, test set, verdicts."""
    from fmnist_sweep.commands import compare as command

    settings = settings_of(home, study, sweep, data_dir, tracking_uri, storage, None, workers, executor, timeout)
    ended = command.compare(settings, top, seeds, quiet=quiet, console=_console())
    _finish(ended.result, as_json, ended.code)


@app.command()
@told
def status(
    study: Study = "",
    sweep: Sweep = "",
    home: Home = HOME,
    tracking_uri: Tracking = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow a running study.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Show a study's trials and the best so far."""
    from fmnist_sweep.commands import status as command

    settings = settings_of(home, study, sweep, tracking_uri=tracking_uri)
    _finish(command.status(settings, watch=watch, console=_console()), as_json)


@app.command()
@told
def preview(
    sweep: Sweep = "",
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", parser=whole(1), help="For the estimate.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", parser=whole(1), help="Nets to show.")] = 10,
    home: Home = HOME,
    seed: Seed = None,
    workers: Workers = "auto",
    epochs: Epochs = None,
    train_images: TrainImages = None,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Sample a sweep without training: nets, sizes, estimated time."""
    from fmnist_sweep.commands import preview as command

    settings = settings_of(home, "", sweep, seed=seed, workers=workers, epochs=epochs, train_images=train_images)
    _finish(command.preview(settings, trials, samples, _console()), as_json)


@app.command()
@told
def export(
    study: Study = "",
    sweep: Sweep = "",
    model: Annotated[
        str, typer.Option("--model", metavar="best|N|NAME", help="The best, a trial's number, a lab net's name.")
    ] = "best",
    formats: Annotated[str, typer.Option("--format", metavar="NAME,...", help="Formats to write: keras.")] = "keras",
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The folder to make.")] = None,
    home: Home = HOME,
    data_dir: DataDir = None,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write the chosen model as a folder, checked against the original."""
    from fmnist_sweep.commands import export as command

    settings = settings_of(home, study, sweep, data_dir)
    names = [name.strip() for name in formats.split(",")]
    _finish(command.export(settings, model, names, out, _console()), as_json)


@app.command()
@told
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The folder of an exported model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Image files, .npy arrays or IDX files.")],
    invert: Annotated[
        bool, typer.Option("--invert", help="Dark clothes on a light ground, as in photographs.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Classify images with an exported model."""
    from fmnist_sweep.commands import predict as command

    _finish(command.predict(model, inputs, invert=invert, console=_console()), as_json)


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
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Start MLflow's server on the local store and open the comparison."""
    from fmnist_sweep.commands import ui as command

    settings = settings_of(home, study, sweep, tracking_uri=tracking_uri)
    command.ui(
        settings,
        port=port,
        browser=not no_browser,
        console=_console(),
        ready=lambda addresses: _print_json(addresses) if as_json else None,
    )


@app.command()
@told
def data(
    data_dir: DataDir = None,
    home: Home = HOME,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Find or fetch the data set and verify its checksums."""
    from fmnist_sweep.commands import listing

    _finish(listing.data(settings_of(home, data_dir=data_dir), _console()), as_json)


@app.command()
@told
def sweeps(
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """List the shipped sweeps and what each is for."""
    from fmnist_sweep.commands import listing

    _finish(listing.sweeps(_console()), as_json)


def _console() -> Console:
    """For people, on standard error; standard output is for ``--json``."""
    from rich.console import Console

    return Console(stderr=True)


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


def _finish(result: dict[str, Any], as_json: bool, code: int = 0) -> None:
    if as_json:
        _print_json(result)
    if code:
        raise typer.Exit(code)


def main() -> None:
    """The entry point of ``fmnist-sweep``."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # else it is the parser's: a wrong option, value or command
            raise
        typer.echo(f"error: {error.format_message()}", err=True)
        code = UsageError.exit_code
    sys.exit(code if isinstance(code, int) else 0)
