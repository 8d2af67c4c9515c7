"""Brings the database to this release's tables, one process at a time, wherever the others run."""

from __future__ import annotations

import os

from mlflow_server.database import Database
from mlflow_server.errors import ServerError
from mlflow_server.lock import alone


def migrate(database: Database, *, patience_s: float = 60) -> None:
    """Makes the tables of runs and users, or brings those of an older release up to date; else changes nothing.

    Call it in a process of its own: it loads MLflow and changes the environment.

    Args:
        database: PostgreSQL or a file of SQLite.
        patience_s: Seconds to wait for a database that comes up.

    Raises:
        ServerError: The database gives no access, or is of a newer release.
    """
    database.wait(patience_s)
    os.environ.update(database.environment)
    with alone(database):
        from alembic.util import CommandError
        from mlflow.db import commands as runs
        from mlflow.server.auth.db.cli import commands as users

        try:
            # Through MLflow's own command line, but within this process: no list of processes shows the address.
            runs.main(["upgrade", database.uri], standalone_mode=False)
            users.main(["upgrade", "--url", database.uri], standalone_mode=False)
        except CommandError as error:
            raise ServerError(f"the database is of another release of MLflow: {error}") from None
