"""What the tracking server is started with, checked at birth."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_server.auth import Auth
from mlflow_server.checks import check_number, check_pattern
from mlflow_server.database import Database
from mlflow_server.errors import SettingsError

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Addresses that stand for all interfaces, and where this machine finds a server that listens there.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the tracking server runs.

    Attributes:
        backend_store_uri: Database of the runs, such as ``sqlite:////home/me/mlflow.db``.
        artifacts_destination: Folder or URI (``s3://bucket``) that keeps the files clients upload through the server.
        host: Address to listen on. Beyond this machine it needs ``auth``.
        port: 1 to 65535, or 0 to pick a free one.
        workers: Server processes, each of several hundred MB.
        allowed_hosts: Host names that requests may ask for; each is allowed with any port.
            ``host`` and this machine's own names always are.
        cors_origins: Web origins (``https://example.org``) whose pages may call the server.
        auth: Asks for user and password; None lets everybody in who reaches the server.
    """

    backend_store_uri: str = field(repr=False)
    artifacts_destination: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    auth: Auth | None = None

    def __post_init__(self) -> None:
        if not _is_uri(self.backend_store_uri) or "://" not in self.backend_store_uri:
            shown = _masked(self.backend_store_uri)
            raise SettingsError(
                f"backend_store_uri is {shown!r}; valid: a database URI as sqlite:////home/me/mlflow.db"
            )
        if not _is_uri(self.artifacts_destination):
            shown = _masked(self.artifacts_destination)
            raise SettingsError(f"artifacts_destination is {shown!r}; valid: a folder, or a URI as s3://bucket/folder")
        check_number("port", self.port, 0, 65_535)
        check_number("workers", self.workers, 1, 64)
        if not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9_.:-]*", self.host):
            raise SettingsError(f"host is {self.host!r}; valid: an address to listen on, as 127.0.0.1")
        for name in self.allowed_hosts:
            check_pattern("allowed_hosts", name, r"[A-Za-z0-9_.*:\[\]-]+", "a host name as mlflow.example.org")
        for origin in self.cors_origins:
            check_pattern("cors_origins", origin, r"https?://[A-Za-z0-9_.*:\[\]-]+", "an origin as https://example.org")
        self._check_reach()

    def _check_reach(self) -> None:
        if not (self.is_local or self.auth):
            raise SettingsError(
                f"host is {self.host!r}, which others can reach without a password; valid: 127.0.0.1, or users (auth)"
            )

    @property
    def is_local(self) -> bool:
        """Whether this machine alone can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_patterns(self) -> tuple[str, ...]:
        """The ``Host`` headers that are let in, as MLflow's patterns."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        names = dict.fromkeys((*_LOOPBACK, *(() if self.host in _EVERYWHERE else (own,)), *self.allowed_hosts))
        # MLflow compares the whole header, port included (mlflow#22095), and reads "[" in a pattern as a set.
        return tuple(pattern for name in names for pattern in (name, f"{name.replace('[', '[[]')}:*"))

    @property
    def uri(self) -> str:
        """Where a client on this machine finds the server."""
        host = self.connect_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def connect_host(self) -> str:
        """The address to connect to from this machine."""
        return connect_host(self.host)

    @property
    def model_sources(self) -> str:
        """Regular expression of the places that a registered model may come from.

        With ``auth`` these are the artifact proxy alone; without, the folder too, as a store that is written
        without the server names its files so.
        """
        places = ["mlflow-artifacts:/", "runs:/", "models:/"]
        if self.folder and not self.auth:
            places.append(self.folder.as_uri() + "/")
        return rf"\A(?:{'|'.join(re.escape(place) for place in places)})"

    @property
    def folder(self) -> Path | None:
        """Where the artifacts are, if that is a folder."""
        return artifact_folder(self.artifacts_destination)

    @property
    def database(self) -> Database:
        """The database of the runs, and of the users."""
        return Database.of(self.backend_store_uri)

    def masked(self, text: str) -> str:
        """The text without passwords."""
        known = [urlsplit(uri).password for uri in (self.backend_store_uri, self.artifacts_destination)]
        known += [self.database.password, *([self.auth.password, self.auth.secret_key] if self.auth else [])]
        for secret in filter(None, known):
            for form in (secret, unquote(secret)):
                text = text.replace(form, "***")
        return _masked(text)


def connect_host(host: str) -> str:
    """The address to connect to from this machine, for a server that listens on ``host``."""
    return _EVERYWHERE.get(host, host)


def artifact_folder(destination: str) -> Path | None:
    """The folder that artifacts go to; None for a bucket and other places."""
    where = urlsplit(destination)
    if where.scheme not in ("", "file"):
        return None
    return Path(unquote(where.path) if where.scheme else destination).resolve()


def _masked(text: str) -> str:
    text = re.sub(r"(://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)
    return re.sub(r"(password=)[^\s&'\"]*", r"\1***", text)


def _is_uri(text: str) -> bool:
    try:
        return bool(text.strip()) and urlsplit(text) is not None
    except ValueError:
        return False
