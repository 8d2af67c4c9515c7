"""The command line: all commands, and the entry point."""

from __future__ import annotations

import sys

import typer

# Loading these puts their commands into the program, in this order.
from fmnist_sweep import cli_studies, cli_tools  # noqa: F401
from fmnist_sweep.app import app
from fmnist_sweep.errors import UsageError


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
