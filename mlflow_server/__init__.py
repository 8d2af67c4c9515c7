"""Starts MLflow's tracking server safely; every start of it in this project goes through here."""

from mlflow_server.addresses import charts_url, compare_url, table_url
from mlflow_server.server import RunningServer, command, environment, settled, start
from mlflow_server.settings import ServerError, ServerSettings, SettingsError

__all__ = [
    "RunningServer",
    "ServerError",
    "ServerSettings",
    "SettingsError",
    "charts_url",
    "command",
    "compare_url",
    "environment",
    "settled",
    "start",
    "table_url",
]
