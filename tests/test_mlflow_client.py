"""How MLflow's client is set up, and how a tracking server is asked whether it is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from fmnist_sweep.addresses import PASSWORD, USER
from fmnist_sweep.errors import TrackingError
from fmnist_sweep.home import Home
from fmnist_sweep.views.mlflow_client import check_uri, connect, keep_artifacts_in

VARIABLES = (
    *(USER, PASSWORD, "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_INSECURE_TLS"),
    *("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, {"verify": True, "cert": None, "auth": None, "headers": {}}),
        ({"MLFLOW_TRACKING_INSECURE_TLS": "true"}, {"verify": False}),
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": "/ours.pem"}, {"verify": "/ours.pem"}),
        ({"MLFLOW_TRACKING_CLIENT_CERT_PATH": "/me.pem"}, {"cert": "/me.pem"}),
        ({"MLFLOW_TRACKING_TOKEN": "abc"}, {"headers": {"Authorization": "Bearer abc"}}),
        ({USER: "ada", PASSWORD: "pw", "MLFLOW_TRACKING_TOKEN": "abc"}, {"auth": ("ada", "pw"), "headers": {}}),
    ],
)
def test_a_server_is_asked_as_mlflow_would_ask_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: dict[str, Any]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calls: list[dict[str, Any]] = []

    def get(_: str, **options: Any) -> Any:
        calls.append(options)
        return SimpleNamespace(ok=True, status_code=200)

    monkeypatch.setattr(requests, "get", get)
    check_uri("https://team")
    assert len(calls) == 2  # whether it is there, and whether it lets this user in
    assert all(asked.items() <= call.items() for call in calls)


def test_a_certificate_that_nobody_knows_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_: Any, **__: Any) -> Any:
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(TrackingError, match="unknown certificate; MLFLOW_TRACKING_SERVER_CERT_PATH can name"):
        check_uri("https://team", patience_s=0.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_client_repeats_no_request_by_itself_and_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose answer was lost may have been done: the mirror looks first, the client would do it twice."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert logging.getLogger("mlflow.store.db.utils").getEffectiveLevel() > logging.ERROR


def test_a_bare_databases_artifacts_are_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "")
    keep_artifacts_in(Home(tmp_path / "home"))
    assert os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] == str(tmp_path / "home" / "mlartifacts")
