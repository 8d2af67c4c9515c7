"""The tracking server as a team runs it: ``python -m mlflow_server --help``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlflow_server import guard, health, migration
from mlflow_server.backup import About, backup, restore
from mlflow_server.errors import ServerError, SettingsError
from mlflow_server.options import (
    FILE,
    PLACE,
    SETTINGS,
    STORE,
    add_options,
    database_of,
    destination_of,
    server_settings,
    values_of,
    with_keys,
)
from mlflow_server.server import command, environment, settled
from mlflow_server.settings import ServerSettings, artifact_folder

Given = Mapping[str, object]
_ABOUT = "MLflow's tracking server with safe settings, for one machine or a team."
_EPILOG = f"""\
Each setting is an option, or a variable in the environment, or, with {FILE} behind the variable's name, a file
(a container's secret, say). Secrets have no option. `SUBCOMMAND --help` shows the options of each.

""" + "\n".join(
    f"  {setting.variable}\n      {setting.meaning}" + (f" (by default {setting.default})" if setting.default else "")
    for setting in SETTINGS
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlflow_server", description=_ABOUT, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="SUBCOMMAND")
    _add(commands, "serve", _serve, [setting.variable for setting in SETTINGS], "migrates, then serves; the default")
    _add(commands, "migrate", _migrate, STORE[:1], "makes or upgrades the database's tables; serve does it by itself")
    _add(commands, "health", _health, (*STORE[:1], *PLACE), "exit code 0 if server and database answer")
    _add(commands, "backup", _backup, STORE, "copies database and artifacts to a new folder; the server may run")
    _add(commands, "restore", _restore, STORE, "fills an empty database and folder from a backup")
    chosen = commands.choices
    chosen["serve"].add_argument("--no-users", action="store_true", help="ask for no password; on 127.0.0.1 alone")
    chosen["backup"].add_argument("--to", type=Path, required=True, metavar="DIR", help="the backup, a new folder")
    chosen["restore"].add_argument("--from", dest="source", type=Path, required=True, metavar="DIR", help="the backup")
    for name in ("backup", "restore"):
        chosen[name].add_argument("--database-only", action="store_true", help="leave the artifacts out")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[Given], int],
    variables: Sequence[str],
    meaning: str,
) -> None:
    parser = commands.add_parser(name, help=meaning, description=meaning)
    add_options(parser, variables)
    parser.set_defaults(action=action)


def _serve(given: Given) -> int:
    values = values_of(given, os.environ)
    settings = settled(server_settings(values, with_users=not given["no_users"]))
    if settings.auth and importlib.util.find_spec("flask_wtf") is None:
        raise SettingsError("users need the package Flask-WTF; valid: pip install 'fmnist-sweep[server]'")
    _check_folder(settings)
    with tempfile.TemporaryDirectory(prefix="mlflow-server-") as folder:
        variables = environment(settings, with_keys(os.environ), Path(folder))
        code = guard.run([sys.executable, "-m", "mlflow_server", "migrate"], variables)
        if code:
            return code
        print(f"MLflow's server starts at {settings.uri}", file=sys.stderr, flush=True)
        return guard.run(command(settings), variables)


def _check_folder(settings: ServerSettings) -> None:
    folder = settings.folder
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"artifacts can't be written to {folder}: {error.strerror}") from None


def _migrate(given: Given) -> int:
    migration.migrate(database_of(values_of(given, os.environ)))
    return 0


def _health(given: Given) -> int:
    values = values_of(given, os.environ)
    if not values["MLFLOW_PORT"].isdecimal():
        raise SettingsError(f"MLFLOW_PORT is {values['MLFLOW_PORT']!r}; valid: a whole number")
    health.check(database_of(values), values["MLFLOW_HOST"], int(values["MLFLOW_PORT"]))
    return 0


def _backup(given: Given) -> int:
    values = values_of(given, os.environ)
    to = Path(str(given["to"])).absolute()
    print(f"{to}: {_told(backup(database_of(values), _artifacts(given, values), to))}", file=sys.stderr)
    return 0


def _restore(given: Given) -> int:
    values = values_of(given, os.environ)
    source = Path(str(given["source"])).absolute()
    print(f"{source}: {_told(restore(database_of(values), _artifacts(given, values), source))}", file=sys.stderr)
    return 0


def _artifacts(given: Given, values: Mapping[str, str]) -> Path | None:
    if given["database_only"]:
        return None
    folder = artifact_folder(destination_of(values))
    if folder is None:
        raise SettingsError(
            "the artifacts are in a bucket, which has means of its own for backups (versions, replication); "
            "valid: --database-only"
        )
    return folder


def _told(about: About) -> str:
    files = "no artifacts" if about.artifacts is None else f"{about.artifacts} artifacts"
    return f"{about.database}, {files}, of MLflow {about.mlflow}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code, 2 for settings that can't be used, 1 for what can't be done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["serve", *words]
    given = vars(_parser().parse_args(words))
    try:
        code: int = given["action"](given)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
