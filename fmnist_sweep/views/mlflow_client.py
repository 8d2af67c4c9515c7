"""MLflow's client, loaded late and kept quiet; and what an address of a tracking server must be."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fmnist_sweep.addresses import credentials, masked
from fmnist_sweep.errors import TrackingError, UsageError
from fmnist_sweep.home import ARTIFACTS, Home
from fmnist_sweep.sqlite_birth import at, born, file_of
from fmnist_sweep.views import mlflow_moved

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_NOT_OURS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
_RETRY_AFTER_S = (0.5, 3.0)
_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
_T = TypeVar("_T")


def check_uri(uri: str, patience_s: float = 5.0) -> None:
    """Finds out before the first trial whether a tracking server answers at ``uri``.

    Raises:
        UsageError: No such kind of address.
        TrackingError: Nothing answers there, or it lets this user do nothing.
    """
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme not in _SCHEMES:
        raise UsageError(
            f"--tracking-uri {masked(uri)}: unknown kind of address; valid: {', '.join(f'{s}://' for s in _SCHEMES)}"
        )
    if scheme in ("http", "https"):
        import requests

        deadline = time.monotonic() + patience_s
        while True:
            try:
                answer = _asked(f"{uri.rstrip('/')}/health", patience_s)
            except requests.RequestException as error:
                if time.monotonic() >= deadline:
                    raise TrackingError(
                        f"--tracking-uri {masked(uri)}: no answer ({_why(error)}); "
                        "start the server, or leave the option out for a local store"
                    ) from None
                time.sleep(0.5)
                continue
            if answer.ok:
                _check_login(uri, patience_s)
                return
            raise TrackingError(f"--tracking-uri {masked(uri)}: /health answered {answer.status_code}, not 200")
    elif scheme == "sqlite":
        folder = Path(uri.split("///", 1)[-1]).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise TrackingError(f"--tracking-uri {masked(uri)}: {folder} is no folder that can be written")


def _check_login(uri: str, patience_s: float) -> None:
    """A server that asks for a password answers ``/health`` without one; an outage just now is none of this."""
    import requests

    place = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    with suppress(requests.RequestException):
        status = _asked(place, patience_s).status_code
        if status in (401, 403):
            given = "wrong user or password" if credentials() else "it asks for user and password"
            raise TrackingError(
                f"--tracking-uri {masked(uri)}: {given} ({status}); "
                "valid: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or http://USER:PASSWORD@HOST"
            )


def _asked(address: str, patience_s: float) -> Any:
    """The answer to a request that is made as MLflow's client makes its own."""
    import requests

    environment = os.environ
    insecure = environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    token = environment.get("MLFLOW_TRACKING_TOKEN") if credentials() is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a certificate that the user has said not to look at
        return requests.get(
            address,
            timeout=patience_s,
            auth=credentials(),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=False if insecure else environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True,
            cert=environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        )


def keep_artifacts_in(home: Home) -> None:
    """For a store that is a bare database; MLflow's own default is a folder mlruns wherever one happens to stand."""
    os.environ[_ARTIFACT_ROOT] = str(home.artifacts.resolve())


def connect(uri: str) -> Any:
    """An ``MlflowClient`` for ``uri``; importing MLflow takes seconds, so call this where nobody waits."""
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # it logs tracebacks of what it raises, too
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # it would make what a lost reply was about twice
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is for --json
    if is_local(uri):
        os.environ[_ARTIFACT_ROOT] = str(Path(uri.split("///", 1)[-1]).parent / ARTIFACTS)
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    mlflow_moved.follow(uri)
    born(uri, lambda unborn: mlflow.MlflowClient(tracking_uri=unborn).search_experiments(max_results=1))
    mlflow.set_tracking_uri(uri)  # some of MLflow's calls know no other way to say it
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def patiently(uri: str, do: Callable[[], _T]) -> _T:
    """What ``do`` returns, which does no harm when it is done twice; tried again where a server is away for a moment.

    Raises:
        Exception: What ``do`` raised last.
    """
    for pause_s in _RETRY_AFTER_S:
        try:
            return do()
        except Exception as error:
            if not may_come_back(uri, error):
                raise
            time.sleep(pause_s)
    return do()


def address(uri: str, home: Home) -> str:
    """``uri`` as the ledger has it: without a password, and "" for the store under home, which may be moved."""
    path = file_of(uri)
    if path is None:
        return masked(uri)
    return "" if path.resolve() == file_of(home.mlflow_uri) else at(uri, path.resolve())


def is_local(uri: str) -> bool:
    """Whether the store is a file of this machine."""
    return urlsplit(uri).scheme.split("+")[0] == "sqlite"


def is_server(uri: str) -> bool:
    """Whether a tracking server answers there, which keeps the artifacts; a bare database keeps none."""
    return urlsplit(uri).scheme in ("http", "https")


def may_come_back(uri: str, error: Exception) -> bool:
    """Whether ``error`` is a server's outage rather than a refusal (a status of 400 to 499, or our own)."""
    from mlflow.exceptions import MlflowException

    if is_local(uri) or isinstance(error, TrackingError):
        return False
    return not isinstance(error, MlflowException) or error.get_http_status_code() >= 500


def _why(error: Exception) -> str:
    text = str(error)
    for sign, words in (
        ("CERTIFICATE_VERIFY", "unknown certificate; MLFLOW_TRACKING_SERVER_CERT_PATH can name a file with its issuer"),
        ("Connection refused", "connection refused"),
        ("timed out", "timed out"),
        ("resolve", "unknown host"),
        ("Name or service", "unknown host"),
    ):
        if sign in text:
            return words
    return type(error).__name__


def is_of(experiment: Any, identity: str, name: str) -> bool:
    """Whether an experiment is a study's: by its tag, or by its name where somebody has removed that.

    Args:
        experiment: MLflow's.
        identity: The study's id.
        name: The study's.
    """
    owner = experiment.tags.get("sweep.study_id")
    return bool(owner == identity if owner else experiment.name == name)
