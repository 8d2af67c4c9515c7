"""Who may use the server: MLflow's own users, without a password that anybody could know beforehand."""

from __future__ import annotations

import secrets
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_server.checks import check_pattern
from mlflow_server.errors import SettingsError

PERMISSIONS = ("NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE")
_REMEMBERED_S = 30  # for so long a server process may take a password that another one has just changed
_SHORTEST = 12  # MLflow's own limit
_FEWEST_CHARACTERS = 5  # different ones
_WELL_KNOWN = frozenset(
    (
        "password1234",
        "password12345",
        "123456789012",
        "administrator",
        "changeme1234",
        "changemechangeme",
        "mlflowmlflow",
    )
)


@dataclass(frozen=True, slots=True)
class Auth:
    """MLflow's users, the first of whom is the administrator.

    Attributes:
        password: The administrator's, set at the first start on a database; none is built in.
        username: The administrator's.
        secret_key: Signs the form that makes users. Several servers on one database need the same.
        default_permission: What a user may do with what others made, one of ``PERMISSIONS``.
    """

    password: str = field(repr=False)
    username: str = "admin"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    default_permission: str = "READ"

    def __post_init__(self) -> None:
        given = "in MLFLOW_AUTH_ADMIN_PASSWORD, or in a file that MLFLOW_AUTH_ADMIN_PASSWORD_FILE names"
        if len(self.password) < _SHORTEST:
            what = f"has {len(self.password)} characters" if self.password else "is not given"
            raise SettingsError(f"the administrator's password {what}; valid: {_SHORTEST} or more, {given}")
        if (
            self.password.lower() in {*_WELL_KNOWN, self.username.lower()}
            or len(set(self.password)) < _FEWEST_CHARACTERS
        ):
            raise SettingsError(f"the administrator's password is easily guessed; valid: another, {given}")
        check_pattern("the administrator's name", self.username, r"[A-Za-z0-9_.@-]+", "letters and digits, as admin")
        if self.default_permission not in PERMISSIONS:
            raise SettingsError(f"default_permission is {self.default_permission!r}; valid: {', '.join(PERMISSIONS)}")

    def environment(self, config: Path) -> dict[str, str]:
        """The variables that MLflow reads; ``config`` is the file that ``write_config`` wrote."""
        return {
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            "MLFLOW_AUTH_ADMIN_USERNAME": self.username,
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secret_key,
        }

    def write_config(self, config: Path, database_uri: str) -> None:
        """Writes what MLflow reads from a file alone; there is no secret in it.

        Args:
            config: The file.
            database_uri: Of the users, without its password.
        """
        parser = RawConfigParser()
        parser["mlflow"] = {
            "default_permission": self.default_permission,
            "database_uri": database_uri.replace("%", "%%"),  # MLflow reads "%" as the start of a reference
            "authorization_function": "mlflow_server.gate:authenticate",
            "grant_default_workspace_access": "false",
            # To check a password takes tens of milliseconds by design, and a client sends it with each request.
            "auth_cache_ttl_seconds": str(_REMEMBERED_S),
        }
        with config.open("w", encoding="utf-8") as file:
            parser.write(file)
