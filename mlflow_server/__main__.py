"""Runs the tracking server in the foreground: ``python -m mlflow_server --help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from mlflow_server import guard
from mlflow_server.server import command, environment, settled
from mlflow_server.settings import ServerError, ServerSettings


def _parser(base: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlflow_server", description="MLflow's tracking server with safe settings.")
    for option, meaning in (
        ("--backend-store-uri", "database of the runs; put one with a password in the variable"),
        ("--artifacts-destination", "folder or URI of the artifacts"),
    ):
        variable = "MLFLOW" + option[1:].replace("-", "_").upper()
        default = base.get(variable)
        parser.add_argument(option, default=default, required=not default, help=f"{meaning} (or {variable})")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="server processes (default: %(default)s)")
    parser.add_argument("--allowed-hosts", type=_names, default=(), help="host names to answer to, with commas between")
    parser.add_argument("--cors-origins", type=_names, default=(), help="web origins to allow, with commas between")
    parser.add_argument("--app-name", choices=["basic-auth"], help="ask for user and password")
    parser.add_argument("--insecure-ok", action="store_true", help="listen beyond this machine without a password")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until it ends; its exit code, or 2 for settings that can't be used."""
    values = vars(_parser(os.environ).parse_args(arguments))
    try:
        settings = settled(ServerSettings(**values))
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"MLflow's server starts at {settings.uri}", file=sys.stderr, flush=True)
    return guard.run(command(settings), environment(settings, os.environ))


if __name__ == "__main__":
    sys.exit(main())
