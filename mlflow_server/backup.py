"""Backup of database and artifacts into one folder, and back, while the server goes on.

The database is copied first, as it was at one moment, then the artifacts: so each artifact that the copy of the
database knows is in the backup, unless somebody deletes it just then.

    DIR/backup.json    what it is
    DIR/database.dump  PostgreSQL, for pg_restore; or database.sqlite
    DIR/artifacts/     the files
    DIR/SHA256SUMS     of all of them, for sha256sum --check
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from mlflow_server import copies, dumps
from mlflow_server.database import Database
from mlflow_server.errors import ServerError
from mlflow_server.lock import alone

FORMAT = 1
SUMS = "SHA256SUMS"
_ABOUT = "backup.json"
_ARTIFACTS = "artifacts"
_DUMPS = {"postgresql": "database.dump", "sqlite": "database.sqlite"}


@dataclass(frozen=True, slots=True)
class About:
    """What a backup is.

    Attributes:
        format: Of the folder.
        made: When the database was copied, in seconds since 1970.
        database: ``postgresql`` or ``sqlite``.
        mlflow: Release that wrote it.
        artifacts: How many files; None where they are elsewhere.
    """

    format: int
    made: float
    database: str
    mlflow: str
    artifacts: int | None


def backup(database: Database, artifacts: Path | None, to: Path) -> About:
    """Writes a backup to the new folder ``to``, which is there once it is whole.

    Args:
        database: Of the server.
        artifacts: The folder of the artifacts; None to leave them out.
        to: The backup.

    Raises:
        ServerError: It is there already, or something can't be read or written.
    """
    if to.exists():
        raise ServerError(f"{to} exists; valid: a new folder")
    part = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True, mode=0o700)
        about = _fill(part, database, artifacts)
        os.sync()
        part.rename(to)
    except OSError as error:
        raise ServerError(f"the backup can't be written to {to}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return about


def _fill(part: Path, database: Database, artifacts: Path | None) -> About:
    made, name = time.time(), _DUMPS[database.kind]
    dumps.dump(database, part / name)
    sums = {name: copies.checksum(part / name)}
    count = None
    if artifacts is not None:
        copied = _copy_all(artifacts, part / _ARTIFACTS)
        sums |= {f"{_ARTIFACTS}/{path}": found for path, found in copied.items()}
        count = len(copied)
    about = About(FORMAT, made, database.kind, version("mlflow"), count)
    (part / _ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
    sums[_ABOUT] = copies.checksum(part / _ABOUT)
    copies.write_sums(part, sums, SUMS)
    return about


def restore(database: Database, artifacts: Path | None, source: Path) -> About:
    """Fills an empty database and an empty folder from a backup, once every checksum in it is right.

    Args:
        database: PostgreSQL or SQLite, as in the backup.
        artifacts: Where its artifacts go; None for a backup without.
        source: The backup.

    Raises:
        ServerError: It is damaged or doesn't fit, or there is something where it would go.
    """
    files = copies.verify(source, SUMS)
    about = _about(source)
    if about.database != database.kind:
        raise ServerError(f"{source} is a backup of {about.database}, the database is {database.kind}")
    if (about.artifacts is None) != (artifacts is None):
        raise ServerError(f"{source} was made {'without' if about.artifacts is None else 'with'} the artifacts")
    with alone(database):
        dumps.check_empty(database)
        if artifacts is None:
            dumps.load(database, source / _DUMPS[database.kind])
        else:
            _check_empty(artifacts)
            _restore_both(database, artifacts, source, files)
    return about


def _restore_both(database: Database, artifacts: Path, source: Path, files: list[str]) -> None:
    """Artifacts are seen after the database only, and neither in part."""
    staged = artifacts / f".restoring-{secrets.token_hex(4)}"
    try:
        staged.mkdir(parents=True)
        for path in files:
            if path.startswith(f"{_ARTIFACTS}/"):
                copies.copy(source / path, staged / path.removeprefix(f"{_ARTIFACTS}/"))
        dumps.load(database, source / _DUMPS[database.kind])
        for entry in sorted(staged.iterdir()):
            entry.rename(artifacts / entry.name)
        os.sync()
    except OSError as error:
        raise ServerError(f"the artifacts can't be restored to {artifacts}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _copy_all(folder: Path, target: Path) -> dict[str, str]:
    target.mkdir()
    found = {path.as_posix(): copies.copy(folder / path, target / path) for path in copies.files_of(folder)}
    return {path: checksum for path, checksum in found.items() if checksum}


def _about(source: Path) -> About:
    try:
        about = About(**json.loads((source / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ServerError(f"{source} is no backup: {_ABOUT} can't be read ({error})") from None
    if about.format > FORMAT:
        raise ServerError(f"{source} has format {about.format}, this release knows up to {FORMAT}: upgrade")
    return about


def _check_empty(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found:
        raise ServerError(f"{folder} is not empty ({', '.join(found[:3])}); valid: a new folder")
