"""Addresses of servers and databases: a password in one is shown nowhere, kept nowhere, sent to its server alone."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit, urlunsplit

from fmnist_sweep.errors import UsageError

# Where MLflow's client looks for them.
USER = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"


def masked(uri: str) -> str:
    """``uri`` with a password, if there is one, replaced by ***."""
    uri = re.sub(r"(//[^/?#:@]*):.*@", r"\1:***@", uri)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&#]*", r"\1***", uri, flags=re.IGNORECASE)


def entrusted(uri: str) -> str:
    """A tracking server's address without user and password, which go into this process's environment.

    MLflow names the address it could not reach in full in its errors, and stores addresses in what it logs. So it gets
    one that may be read by everybody. Addresses of databases, which it does neither with, are returned as they are.

    Raises:
        UsageError: It can't be taken apart.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        advice = "valid: as in https://NAME:PASSWORD@HOST:5000, what is odd in NAME and PASSWORD as %XX"
        raise UsageError(f"--tracking-uri {masked(uri)!r} is no address; {advice}") from None
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    login, _, host = parts.netloc.rpartition("@")
    user, given, password = login.partition(":")
    os.environ[USER] = unquote(user)
    if given:  # else it is the environment's
        os.environ[PASSWORD] = unquote(password)
    clean = urlunsplit(parts._replace(netloc=host))
    if os.environ.get("MLFLOW_TRACKING_URI") == uri:
        os.environ["MLFLOW_TRACKING_URI"] = clean
    return clean


def credentials() -> tuple[str, str] | None:
    """User and password for the tracking server; None where the environment has none."""
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    return (user, password) if user and password is not None else None
