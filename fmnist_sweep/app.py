"""What every command of the command line shares: the program, errors as one line, output, exit codes."""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from fmnist_sweep.errors import SweepError

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


def console(quiet: bool = False) -> Console:
    """For people, on standard error, or for nobody; standard output is for ``--json``.

    Names of files, classes and studies are users', and are no markup.
    """
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, markup=False, emoji=False)


def print_json(result: dict[str, Any]) -> None:
    """The one object that ``--json`` prints."""
    print(json.dumps(result), flush=True)


def finish(result: dict[str, Any], as_json: bool, code: int = 0) -> None:
    """Ends a command: its result for programs, and its exit code."""
    if as_json:
        print_json(result)
    if code:
        raise typer.Exit(code)
