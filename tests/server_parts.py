"""What the tests of the tracking server share: settings, a request, and whether a process group is gone."""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_server import ServerSettings


def settings(**changes: object) -> ServerSettings:
    values: dict[str, object] = {
        "backend_store_uri": "sqlite:////x/mlflow.db",
        "artifacts_destination": "/x/mlartifacts",
    }
    return ServerSettings(**{**values, **changes})  # type: ignore[arg-type]


def group_ends(pid: int, within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.body)
        return values


@dataclass(frozen=True)
class Client:
    """Asks a server what a browser or MLflow's own client would not: odd hosts, origins and paths.

    Attributes:
        uri: Of the server.
        user: Name and password, with a colon between; "" for nobody.
    """

    uri: str
    user: str = ""

    def ask(self, path: str, body: object = None, method: str = "", **headers: str) -> Answer:
        """Sends a request; a body that is not bytes goes as JSON, and the path as it is."""
        where = urlsplit(self.uri)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        sent = {"Content-Type": "application/json", **headers}
        if self.user:
            sent["Authorization"] = "Basic " + base64.b64encode(self.user.encode()).decode()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def post(self, path: str, **body: object) -> Answer:
        """Asks MLflow's API."""
        return self.ask(f"/api/2.0/mlflow/{path}", body)
