"""Whether the server and its database answer, without loading MLflow."""

from __future__ import annotations

import http.client

from mlflow_server.database import Database
from mlflow_server.errors import ServerError
from mlflow_server.settings import connect_host

_PATIENCE_S = 5.0


def check(database: Database, host: str, port: int) -> None:
    """Asks the server, then the database, as MLflow's own ``/health`` says OK without one.

    Args:
        database: Of the server.
        host: What the server listens on.
        port: Its port.

    Raises:
        ServerError: One of them gives no good answer.
    """
    connection = http.client.HTTPConnection(connect_host(host), port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"no answer on port {port} of {connect_host(host)}: {error}") from None
    finally:
        connection.close()
    if status != 200:
        raise ServerError(f"/health on port {port} of {connect_host(host)} answered {status}, not 200")
    database.ask()
