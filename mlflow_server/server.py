"""Starts the tracking server as a child process, waits for its first answer, and ends it."""

from __future__ import annotations

import errno
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

from mlflow_server import guard
from mlflow_server.errors import ServerError
from mlflow_server.settings import ServerSettings

# MLflow's variables that are the user's to set; all others are dropped, among them those that would
# move the server to gunicorn, which has no middleware, or turn the middleware off.
_KEPT = (
    "MLFLOW_BOTO_",
    "MLFLOW_CRYPTO_KEK_",
    "MLFLOW_GCS_",
    "MLFLOW_LOGGING_LEVEL",
    "MLFLOW_MYSQL_SSL_",
    "MLFLOW_S3_",
    "MLFLOW_SQLALCHEMYSTORE_",
)
_SAFE = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_IDENTITY_HEADER = "x-fmnist-sweep-server"


def command(settings: ServerSettings, identity: str = "") -> list[str]:
    """The command that starts the server; no secret is in it.

    Args:
        settings: With a port, see ``settled``.
        identity: Sent with each answer, so that the starter knows its own server.

    Raises:
        ServerError: The port is still 0.
    """
    if settings.port == 0:
        raise ServerError("the server's port is 0; valid: settings that went through settled()")
    # An open page must not hold up the end of the server.
    uvicorn = ["--no-server-header", f"--timeout-graceful-shutdown={int(guard.GRACE_S) - 2}"]
    if identity:
        uvicorn.append(f"--header={_IDENTITY_HEADER}:{identity}")
    words = [sys.executable, "-m", "mlflow", "server", "--serve-artifacts"]
    words += ["--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers)]
    words += ["--allowed-hosts", ",".join(settings.host_patterns), "--x-frame-options", "SAMEORIGIN"]
    words += ["--uvicorn-opts", " ".join(uvicorn)]
    if settings.cors_origins:
        words += ["--cors-allowed-origins", ",".join(settings.cors_origins)]
    if settings.auth:
        words += ["--app-name", "basic-auth"]
    return words


def environment(settings: ServerSettings, base: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The server's environment: ``base`` without what could weaken it, and every secret that the server needs.

    Args:
        settings: Of the server.
        base: The environment of whoever starts it.
        folder: For a small file that MLflow reads its users' settings from; it must last as long as the server.
    """
    kept = {
        name: value
        for name, value in base.items()
        if name.startswith(_KEPT) or not name.startswith(("MLFLOW_", "_MLFLOW_", "UVICORN_"))
    }
    database = settings.database
    found = {
        **kept,
        **_SAFE,
        **database.environment,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts_destination,
        "MLFLOW_BACKEND_STORE_URI": database.uri,
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": settings.model_sources,
        "PYTHONUNBUFFERED": "1",
    }
    if settings.auth:
        config = folder / "users.ini"
        settings.auth.write_config(config, database.uri)
        found |= settings.auth.environment(config)
        # MLflow imports the gate from here, wherever the server is started.
        path = [str(Path(__file__).parent.parent), *filter(None, [base.get("PYTHONPATH")])]
        found["PYTHONPATH"] = os.pathsep.join(path)
    return found


def settled(settings: ServerSettings) -> ServerSettings:
    """The settings with a port that is free now.

    Raises:
        ServerError: The port is taken, or the host can't be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.create_server((settings.host, settings.port), family=family) as probe:
            return replace(settings, port=probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServerError(
                f"port {settings.port} of {settings.host} is taken; valid: a free port, or 0 to pick one"
            ) from error
        raise ServerError(f"can't listen on port {settings.port} of {settings.host}: {error}") from error


class RunningServer:
    """A server that was started; leaving its ``with`` block ends it, and so does the end of this process."""

    def __init__(self, settings: ServerSettings, log: IO[bytes]) -> None:
        self._settings = settings
        self._log = log
        self._log_start = log.seek(0, os.SEEK_END)
        self._identity = secrets.token_hex(8)
        self._stopped = False
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-server-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", guard.__file__, *command(settings, self._identity)],
            env=environment(settings, os.environ, Path(self._folder.name)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        """Base of the server's addresses, without a slash at the end."""
        return self._settings.uri

    @property
    def pid(self) -> int:
        """Process id of the group's leader, which is the group's id too."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Waits until the server ends; its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Ends the server with all its processes; does nothing when that is done."""
        if self._stopped:
            return
        self._stopped = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._end_group(number):
                break
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()
        self._folder.cleanup()

    def _end_group(self, number: int) -> bool:
        """Signals all processes of the group; whether they are gone within the grace."""
        deadline = time.monotonic() + guard.GRACE_S
        while True:
            self._process.poll()
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return True
            if time.monotonic() >= deadline:
                return False
            number = 0
            time.sleep(0.05)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits until the server answers.

        Raises:
            ServerError: It ended, or didn't answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if not self.alive:
                what = f"ended with exit code {self.wait()}"
            elif time.monotonic() >= deadline:
                what = f"gave no answer at {self.uri} within {timeout_s:g} s"
            else:
                time.sleep(0.1)
                continue
            raise ServerError(f"MLflow's server {what}; its last words: {self._last_words()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self._settings.connect_host, self._settings.port, timeout=2)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        else:
            # Somebody else may have taken the port since it was found free.
            return answer.status == 200 and answer.getheader(_IDENTITY_HEADER) == self._identity
        finally:
            connection.close()

    def _last_words(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(self._log_start, size - 4096))
        lines = self._log.read().decode(errors="replace").splitlines()
        # The frames of a traceback are indented; SQLAlchemy ends with a link.
        words = [line for line in lines if line.strip() and not line.startswith((" ", "(Background"))]
        return self._settings.masked(" | ".join(words[-2:])) or "none"


def start(settings: ServerSettings, *, log: Path | None = None, timeout_s: float = 180) -> RunningServer:
    """Starts the server in a process group of its own and waits for its first answer.

    Args:
        settings: Of the server; its port may be 0.
        log: File that the server's output is added to; by default it is thrown away.
        timeout_s: Seconds to wait for the first answer, which can take 20 on a slow machine, and more on a busy one.

    Raises:
        ServerError: The port is taken, or the server ended or gave no answer in time. Nothing is left running.
    """
    settings = settled(settings)
    server = RunningServer(settings, _opened(log))
    try:
        server.wait_until_ready(timeout_s)
    except BaseException:
        server.stop()
        raise
    return server


def _opened(log: Path | None) -> IO[bytes]:
    if log is None:
        return tempfile.TemporaryFile("a+b")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # MLflow may print the database's URI there, password included.
        return open(log, "a+b", opener=lambda path, flags: os.open(path, flags, 0o600))
    except OSError as error:
        raise ServerError(f"can't write the server's log {log}: {error.strerror}") from error
