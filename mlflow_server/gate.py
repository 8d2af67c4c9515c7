"""What MLflow asks before each request: who it is, and whether a place outside the artifact proxy is named.

MLflow lets whoever makes an experiment say where its artifacts lie, ``file:///etc`` included, and would then read
and write there. MLflow imports this module, inside the server's processes.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response, make_response, request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization

from mlflow_server.places import PROXY, allowed, locations

_LOCATED = ("/experiments", "/traces")


def authenticate() -> Authorization | Response:
    """The user of the request at hand, or the answer that refuses it."""
    found: Authorization | Response = authenticate_request_basic_auth()
    if isinstance(found, Authorization) and request.method != "GET" and any(word in request.path for word in _LOCATED):
        for place in locations(_body()):
            if not allowed(place):
                said = f"artifact_location is {place!r}; valid: none, or one that begins with {PROXY}"
                return make_response({"error_code": "INVALID_PARAMETER_VALUE", "message": said}, 400)
    return found


def _body() -> Any:
    found = request.get_json(force=True, silent=True)
    if isinstance(found, str):  # MLflow takes a body that was encoded twice
        try:
            return json.loads(found)
        except ValueError:
            return None
    return found
