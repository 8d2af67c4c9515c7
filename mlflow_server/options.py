"""How the server is set up: one table of settings, each an option, a variable, or a file that a variable names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_server.auth import PERMISSIONS, Auth
from mlflow_server.database import VALID, Database
from mlflow_server.errors import SettingsError
from mlflow_server.settings import ServerSettings

FILE = "_FILE"
# Where a bucket's keys are looked for too, as MLflow's own client of S3 knows the variables alone.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set.

    Attributes:
        variable: In the environment; with ``_FILE`` behind it, the name of a file that holds the value.
        meaning: For people.
        option: On the command line; "" where the value is a secret, which a process's arguments would show.
        default: "" where there is none.
    """

    variable: str
    meaning: str
    option: str = ""
    default: str = ""


SETTINGS = (
    Setting(
        "MLFLOW_BACKEND_STORE_URI",
        "database of runs and users: postgresql+psycopg://me@host/mlflow, or sqlite:////folder/mlflow.db",
        "--backend-store-uri",
    ),
    Setting("MLFLOW_BACKEND_STORE_PASSWORD", "the database's password, if it is not in the address"),
    Setting(
        "MLFLOW_ARTIFACTS_DESTINATION",
        "folder of the files that clients upload, or s3://bucket/folder (MLFLOW_S3_ENDPOINT_URL names another S3)",
        "--artifacts-destination",
    ),
    Setting("MLFLOW_HOST", "address to listen on", "--host", "127.0.0.1"),
    Setting("MLFLOW_PORT", "port to listen on; 0 picks a free one", "--port", "5000"),
    Setting("MLFLOW_WORKERS", "server processes, each of several hundred MB", "--workers", "1"),
    Setting(
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        "host names to answer to, with commas between, each with any port; localhost always is one",
        "--allowed-hosts",
    ),
    Setting(
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
        "web origins whose pages may call the server, with commas between, as https://example.org:8443",
        "--cors-origins",
    ),
    Setting("MLFLOW_AUTH_ADMIN_USERNAME", "the administrator's name", "--admin-username", "admin"),
    Setting(
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "the administrator's password, 12 characters or more, set at the first start on a database",
    ),
    Setting(
        "MLFLOW_AUTH_DEFAULT_PERMISSION",
        f"what a user may do with what others made: {', '.join(PERMISSIONS)}",
        "--default-permission",
        "READ",
    ),
    Setting(
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "signs the form that makes users; drawn at each start, so several servers on one database need the same one",
    ),
)
STORE = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION")
PLACE = ("MLFLOW_HOST", "MLFLOW_PORT")


def value_of(variable: str, base: Mapping[str, str]) -> str:
    """The value of a variable, or of the file that ``variable_FILE`` names; "" where neither is given.

    Raises:
        SettingsError: Both are given, or the file can't be read.
    """
    value, name = base.get(variable, ""), base.get(variable + FILE, "")
    if not name:
        return value
    if value:
        raise SettingsError(f"{variable} and {variable}{FILE} are both given; valid: one of them")
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}{FILE} is {name!r}, which can't be read: {error}") from None


def with_keys(base: Mapping[str, str]) -> dict[str, str]:
    """The environment with a bucket's keys out of the files that hold them.

    Raises:
        SettingsError: A file can't be read.
    """
    return {**base, **{name: value_of(name, base) for name in KEYS if base.get(name + FILE)}}


def add_options(parser: argparse.ArgumentParser, variables: Sequence[str]) -> None:
    """Gives a parser the options of these settings."""
    for setting in SETTINGS:
        if setting.option and setting.variable in variables:
            default = f"; by default {setting.default}" if setting.default else ""
            parser.add_argument(
                setting.option, dest=setting.variable, metavar="VALUE", help=f"{setting.meaning}{default}"
            )


def values_of(given: Mapping[str, object], base: Mapping[str, str]) -> dict[str, str]:
    """The value of each setting, by variable: the command line's, else the environment's, else the default.

    Raises:
        SettingsError: A password stands where everybody can read it, or a file can't be read.
    """
    values = {}
    for setting in SETTINGS:
        said = given.get(setting.variable)
        values[setting.variable] = str(said) if said is not None else value_of(setting.variable, base)
        values[setting.variable] = values[setting.variable] or setting.default
    uri = given.get("MLFLOW_BACKEND_STORE_URI")
    if uri is not None and urlsplit(str(uri)).password:
        raise SettingsError(
            "--backend-store-uri holds a password, which every list of processes shows; valid: the same address in "
            "MLFLOW_BACKEND_STORE_URI, or the password in MLFLOW_BACKEND_STORE_PASSWORD (or either in a file)"
        )
    return values


def database_of(values: Mapping[str, str]) -> Database:
    """The database, with its password wherever that was given.

    Raises:
        SettingsError: None is named, or it is one that the server's commands don't know.
    """
    uri, password = values["MLFLOW_BACKEND_STORE_URI"], values["MLFLOW_BACKEND_STORE_PASSWORD"]
    if not uri:
        raise SettingsError(f"no database is named (MLFLOW_BACKEND_STORE_URI); valid: {VALID}")
    found = Database.of(uri)
    found.check()
    return replace(found, password=password) if password else found


def destination_of(values: Mapping[str, str]) -> str:
    """Where the artifacts go.

    Raises:
        SettingsError: Nowhere is named.
    """
    if not values["MLFLOW_ARTIFACTS_DESTINATION"]:
        raise SettingsError("no place for artifacts is named (MLFLOW_ARTIFACTS_DESTINATION); valid: a folder")
    return values["MLFLOW_ARTIFACTS_DESTINATION"]


def server_settings(values: Mapping[str, str], *, with_users: bool) -> ServerSettings:
    """All that the server is started with.

    Args:
        values: From ``values_of``.
        with_users: Whether to ask for user and password.

    Raises:
        SettingsError: It makes no server, or an unsafe one.
    """
    return ServerSettings(
        backend_store_uri=database_of(values).whole_uri,
        artifacts_destination=destination_of(values),
        host=values["MLFLOW_HOST"],
        port=_number(values, "MLFLOW_PORT"),
        workers=_number(values, "MLFLOW_WORKERS"),
        allowed_hosts=_names(values["MLFLOW_SERVER_ALLOWED_HOSTS"]),
        cors_origins=_names(values["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]),
        auth=_auth(values) if with_users else None,
    )


def _auth(values: Mapping[str, str]) -> Auth:
    key = values["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    auth = Auth(
        password=values["MLFLOW_AUTH_ADMIN_PASSWORD"],
        username=values["MLFLOW_AUTH_ADMIN_USERNAME"],
        default_permission=values["MLFLOW_AUTH_DEFAULT_PERMISSION"],
    )
    return replace(auth, secret_key=key) if key else auth


def _number(values: Mapping[str, str], variable: str) -> int:
    if not values[variable].isdecimal():
        raise SettingsError(f"{variable} is {values[variable]!r}; valid: a whole number")
    return int(values[variable])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
