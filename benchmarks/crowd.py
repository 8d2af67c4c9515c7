"""Fills databases with copies of a few trials' rows, so that a study of 100,000 trials is there within minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RUNS = ("params", "tags", "metrics", "latest_metrics")
_TRIALS = ("trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes")


def fill_mlflow(connection: Any, template: str, target: str, trials: int) -> None:
    """Gives an experiment runs 0 to ``trials`` - 1, each a copy of one of another experiment's trials.

    Their ids are those of ``ledgers.write``.

    Args:
        connection: To MLflow's database.
        template: Id of the experiment to copy from.
        target: Id of the one to fill.
        trials: How many runs it gets.
    """
    _execute(
        connection,
        "CREATE TEMP TABLE copies AS "
        "SELECT made.number, known.run_uuid AS original, "
        f"'{trials:016x}' || lpad(to_hex(made.number), 16, '0') AS copy "
        f"FROM generate_series(0, {trials - 1}) AS made(number) "
        "JOIN (SELECT run_uuid, row_number() OVER (ORDER BY run_uuid) - 1 AS place, COUNT(*) OVER () AS many "
        f"FROM runs WHERE experiment_id = {int(template)} AND name LIKE 'trial%') AS known "
        "ON known.place = made.number % known.many",
    )
    changed = {"run_uuid": "copies.copy", "experiment_id": str(int(target))}
    for table in ("runs", *_RUNS):
        _copy(connection, table, "run_uuid", changed)
    changed = {"destination_id": "copies.copy", "input_uuid": "md5(told.input_uuid || copies.copy)"}
    _copy(connection, "inputs", "destination_id", changed)
    _finish(connection)


def fill_optuna(connection: Any, template: str, target: str, trials: int) -> None:
    """Gives a study trials 0 to ``trials`` - 1, each a copy of one of another study's.

    Args:
        connection: To the storage's database.
        template: Name of the study to copy from.
        target: Name of the one to fill.
        trials: How many it gets.
    """
    of = "(SELECT study_id FROM studies WHERE study_name = '{}')"
    _execute(
        connection,
        "CREATE TEMP TABLE copies AS "
        "SELECT made.number, known.trial_id AS original, "
        "(SELECT MAX(trial_id) FROM trials) + 1 + made.number AS copy "
        f"FROM generate_series(0, {trials - 1}) AS made(number) "
        "JOIN (SELECT trial_id, row_number() OVER (ORDER BY number) - 1 AS place, COUNT(*) OVER () AS many "
        f"FROM trials WHERE study_id = {of.format(template)}) AS known ON known.place = made.number % known.many",
    )
    changed = {"trial_id": "copies.copy", "number": "copies.number", "study_id": of.format(target)}
    _copy(connection, "trials", "trial_id", changed)
    _execute(connection, "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), MAX(trial_id)) FROM trials")
    for table in _TRIALS:
        _copy(connection, table, "trial_id", {"trial_id": "copies.copy"})
    _finish(connection)


def _copy(connection: Any, table: str, key: str, changed: Mapping[str, str]) -> None:
    """Copies the rows of all originals; columns that number themselves get new numbers."""
    found = _execute(
        connection,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "
        f"AND table_name = '{table}' AND (column_default IS NULL OR column_default NOT LIKE 'nextval%' "
        f"OR column_name = '{key}') ORDER BY ordinal_position",
    )
    columns = [str(name) for (name,) in found]
    values = [changed.get(name, f"told.{name}") for name in columns]
    _execute(
        connection,
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM copies JOIN {table} AS told ON told.{key} = copies.original ORDER BY copies.number",
    )


def _finish(connection: Any) -> None:
    """What a database that had grown by itself would have behind it."""
    for statement in ("DROP TABLE copies", "VACUUM ANALYZE", "CHECKPOINT"):
        _execute(connection, statement)


def _execute(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    done = connection.execute(statement)
    return done.fetchall() if done.description else []
