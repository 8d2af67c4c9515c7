"""What every command of the command line shares: the program, errors as one line, output, exit codes."""

from __future__ import annotations

import functools
import json
import os
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
            _say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except Exception as error:
            if options.get("verbose"):
                traceback.print_exc()
            first = (str(error).splitlines() or [""])[0]
            _say(f"error: {type(error).__name__}: {first} (-v shows the traceback)")
            raise typer.Exit(1) from None

    return wrapped


def console(quiet: bool = False) -> Console:
    """For people, on standard error, or for nobody; standard output is for ``--json``.

    Names of files, classes and studies are users', and are no markup.
    """
    from rich.console import Console

    class Patient(Console):
        """One that falls silent where its reader has gone, instead of ending the program."""

        def on_broken_pipe(self) -> None:
            self.quiet = True
            _give_up(sys.stderr.fileno())

    return Patient(stderr=True, quiet=quiet, markup=False, emoji=False)


def print_json(result: dict[str, Any]) -> None:
    """The one object that ``--json`` prints."""
    try:
        print(json.dumps(result), flush=True)
    except BrokenPipeError:
        _give_up(sys.stdout.fileno())
        raise typer.Exit(1) from None


def _say(line: str) -> None:
    try:
        typer.echo(line, err=True)
    except BrokenPipeError:
        _give_up(sys.stderr.fileno())


def _give_up(stream: int) -> None:
    """Whoever read it has gone: what is still in Python's hands would fail once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)


def finish(result: dict[str, Any], as_json: bool, code: int = 0) -> None:
    """Ends a command: its result for programs, and its exit code."""
    if as_json:
        print_json(result)
    if code:
        raise typer.Exit(code)
