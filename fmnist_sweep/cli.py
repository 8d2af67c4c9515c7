"""The command line: the only place that parses options, prints results and chooses exit codes.

Each command loads what it needs when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_sweep.errors import SweepError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from fmnist_sweep.settings import Settings

app = typer.Typer(
    name="fmnist-sweep",
    help="Searches over architectures and hyperparameters of image classifiers, with an honest answer.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def whole(low: int) -> Callable[[str | int], int]:
    """Reads a whole number of ``low`` or more, with an error that says so."""

    def parse(given: str | int) -> int:
        text = str(given)  # a default comes as the number that it is
        if not re.fullmatch(r"[0-9]+", text) or int(text) < low:
            raise typer.BadParameter(f"{text!r}; valid: a whole number of {low} or more")
        return int(text)

    return parse


Home = Annotated[
    Path, typer.Option("--home", metavar="DIR", envvar="FMNIST_SWEEP_HOME", help="Where everything is kept.")
]
Study = Annotated[str, typer.Option("--study", metavar="NAME", help="The study; as a rule named like its sweep.")]
Sweep = Annotated[str, typer.Option("--sweep", metavar="NAME|FILE", help="A shipped sweep, or a .toml file.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", envvar="FMNIST_DATA_DIR", help="Where the data set's four files are."),
]
Tracking = Annotated[
    str,
    typer.Option(
        "--tracking-uri", metavar="URI", envvar="MLFLOW_TRACKING_URI", help="MLflow; by default SQLite under home."
    ),
]
Storage = Annotated[str, typer.Option("--storage", metavar="URI", help="Optuna's; by default SQLite under home.")]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", parser=whole(0), help="Of everything drawn; 0 for a new study.")
]
Workers = Annotated[str, typer.Option("--workers", metavar="N|auto", help="Nets trained at the same time.")]
ExecutorOption = Annotated[
    str, typer.Option("--executor", metavar="local|inline", help="Processes, or this process (for debugging).")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Time for the study in all, as 90s, 45m or 2h.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", parser=whole(1), help="Instead of the sweep's.")]
TrainImages = Annotated[
    int | None,
    typer.Option("--train-images", metavar="N", parser=whole(1), help="A smaller training set, for trying out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors alone.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print the traceback of an error.")]

HOME = Path("fmnist_runs")


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
    sweep: Sweep = "default",
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
    no_lab: Annotated[bool, typer.Option("--no-lab", help="Leave out the lab's nets.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; the old study gets another name.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Run or resume a study until N trials have ended."""
    from fmnist_sweep.commands import run as command

    settings = _settings(
        home, study, sweep, data_dir, tracking_uri, storage, seed, workers, executor, timeout, epochs, train_images
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

    settings = _settings(
        home, study, "default", data_dir, tracking_uri, storage, seed, workers, executor, timeout, epochs, train_images
    )
    names = [name.strip() for name in variants.split(",")]
    ended = command.run_lab(settings, names, seeds, quiet=quiet, console=_console())
    _finish(ended.result, as_json, ended.code)


@app.command()
@told
def status(
    study: Study = "",
    sweep: Sweep = "default",
    home: Home = HOME,
    tracking_uri: Tracking = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow a running study.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Show a study's trials and the best so far."""
    from fmnist_sweep.commands import status as command

    settings = _settings(home, study, sweep, tracking_uri=tracking_uri)
    _finish(command.status(settings, watch=watch, console=_console()), as_json)


@app.command()
@told
def preview(
    sweep: Sweep = "default",
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

    settings = _settings(home, "", sweep, seed=seed, workers=workers, epochs=epochs, train_images=train_images)
    _finish(command.preview(settings, trials, samples, _console()), as_json)


@app.command()
@told
def export(
    study: Study = "",
    sweep: Sweep = "default",
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

    settings = _settings(home, study, sweep, data_dir)
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
    sweep: Sweep = "default",
    home: Home = HOME,
    tracking_uri: Tracking = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="On 127.0.0.1; 0 for a free one.")] = 5000,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Start MLflow's server on the local store and open the comparison."""
    from fmnist_sweep.commands import ui as command

    settings = _settings(home, study, sweep, tracking_uri=tracking_uri)
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

    _finish(listing.data(_settings(home, data_dir=data_dir), _console()), as_json)


@app.command()
@told
def sweeps(
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """List the shipped sweeps and what each is for."""
    from fmnist_sweep.commands import listing

    _finish(listing.sweeps(_console()), as_json)


def _settings(
    home: Path,
    study: str = "",
    sweep: str = "default",
    data_dir: Path | None = None,
    tracking_uri: str = "",
    storage: str = "",
    seed: int | None = None,
    workers: str = "auto",
    executor: str = "local",
    timeout: str = "",
    epochs: int | None = None,
    train_images: int | None = None,
) -> Settings:
    from fmnist_sweep.home import Home as HomeFolder
    from fmnist_sweep.settings import Settings

    if executor not in ("local", "inline"):
        raise UsageError(f"--executor is {executor!r}; valid: local, inline")
    if workers != "auto" and (not workers.isdecimal() or not 1 <= int(workers) <= 1024):
        raise UsageError(f"--workers is {workers!r}; valid: auto, or a whole number from 1 to 1024")
    return Settings(
        home=HomeFolder(home),
        study=study,
        sweep=sweep,
        data_dir=data_dir,
        tracking_uri=tracking_uri,
        storage=storage,
        seed=seed,
        workers=0 if workers == "auto" else int(workers),
        executor="inline" if executor == "inline" else "local",
        timeout_s=seconds("--timeout", timeout) if timeout else None,
        epochs=epochs,
        train_images=train_images,
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
