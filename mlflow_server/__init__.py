"""Starts MLflow's tracking server safely; every start of it in this project goes through here."""

from mlflow_server.addresses import charts_url, compare_url, model_url, run_url, table_url
from mlflow_server.auth import Auth
from mlflow_server.errors import ServerError, SettingsError
from mlflow_server.server import RunningServer, command, environment, settled, start
from mlflow_server.settings import ServerSettings

__all__ = [
    "Auth",
    "RunningServer",
    "ServerError",
    "ServerSettings",
    "SettingsError",
    "charts_url",
    "command",
    "compare_url",
    "environment",
    "model_url",
    "run_url",
    "settled",
    "start",
    "table_url",
]
