"""What the tracking server is started with, checked at birth."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Addresses that stand for all interfaces, and where this machine finds a server that listens there.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ServerError(Exception):
    """The tracking server can't be started, or ended before it answered."""


class SettingsError(ServerError, ValueError):
    """Settings that make no server, or an unsafe one."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the tracking server runs.

    Attributes:
        backend_store_uri: Database of the runs, such as ``sqlite:////home/me/mlflow.db``.
        artifacts_destination: Folder or URI (``s3://bucket``) that keeps the files clients upload through the server.
        host: Address to listen on. Beyond this machine it needs ``app_name`` or ``insecure_ok``.
        port: 1 to 65535, or 0 to pick a free one.
        workers: Server processes, each of several hundred MB.
        allowed_hosts: Host names that requests may ask for; each is allowed with any port.
            ``host`` and this machine's own names always are.
        cors_origins: Web origins (``https://example.org``) whose pages may call the server.
        app_name: ``basic-auth`` to ask for user and password, set in MLflow's own environment variables.
        insecure_ok: Listen beyond this machine without asking for a password.
    """

    backend_store_uri: str = field(repr=False)
    artifacts_destination: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    app_name: Literal["basic-auth"] | None = None
    insecure_ok: bool = False

    def __post_init__(self) -> None:
        if not _is_uri(self.backend_store_uri) or "://" not in self.backend_store_uri:
            shown = _masked(self.backend_store_uri)
            raise SettingsError(
                f"backend_store_uri is {shown!r}; valid: a database URI as sqlite:////home/me/mlflow.db"
            )
        if not _is_uri(self.artifacts_destination):
            shown = _masked(self.artifacts_destination)
            raise SettingsError(f"artifacts_destination is {shown!r}; valid: a folder, or a URI as s3://bucket/folder")
        _check_number("port", self.port, 0, 65_535)
        _check_number("workers", self.workers, 1, 64)
        if self.app_name not in (None, "basic-auth"):
            raise SettingsError(f"app_name is {self.app_name!r}; valid: None, 'basic-auth'")
        if not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9_.:-]*", self.host):
            raise SettingsError(f"host is {self.host!r}; valid: an address to listen on, as 127.0.0.1")
        for name in self.allowed_hosts:
            _check_pattern("allowed_hosts", name, r"[A-Za-z0-9_.*:\[\]-]+", "a host name as mlflow.example.org")
        for origin in self.cors_origins:
            _check_pattern(
                "cors_origins", origin, r"https?://[A-Za-z0-9_.*:\[\]-]+", "an origin as https://example.org"
            )
        self._check_reach()

    def _check_reach(self) -> None:
        if not (self.is_local or self.app_name or self.insecure_ok):
            raise SettingsError(
                f"host is {self.host!r}, which others can reach without a password; "
                "valid: 127.0.0.1, or app_name='basic-auth', or insecure_ok=True"
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
        return _EVERYWHERE.get(self.host, self.host)

    @property
    def model_sources(self) -> str:
        """Regular expression of the places that a registered model may come from."""
        places = ["mlflow-artifacts:/", "runs:/", "models:/"]
        scheme = urlsplit(self.artifacts_destination).scheme
        if scheme == "file":
            places.append(self.artifacts_destination.rstrip("/") + "/")
        elif not scheme:
            places.append(Path(self.artifacts_destination).resolve().as_uri() + "/")
        return rf"\A(?:{'|'.join(re.escape(place) for place in places)})"

    def masked(self, text: str) -> str:
        """The text without passwords."""
        for uri in (self.backend_store_uri, self.artifacts_destination):
            secret = urlsplit(uri).password
            for form in {secret, unquote(secret)} if secret else ():
                text = text.replace(form, "***")
        return _masked(text)


def _masked(text: str) -> str:
    text = re.sub(r"(://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)
    return re.sub(r"(password=)[^\s&'\"]*", r"\1***", text)


def _is_uri(text: str) -> bool:
    try:
        return bool(text.strip()) and urlsplit(text) is not None
    except ValueError:
        return False


def _check_number(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}; valid: {low} to {high}")


def _check_pattern(name: str, value: str, pattern: str, valid: str) -> None:
    if "*" in value and not re.search(r"[A-Za-z0-9]", value.removeprefix("https").removeprefix("http")):
        raise SettingsError(f"{name} has {value!r}, which lets everybody in; valid: {valid}")
    if not re.fullmatch(pattern, value):
        raise SettingsError(f"{name} has {value!r}; valid: {valid}")
