"""A real PostgreSQL of one's own: a cluster in a folder, on a free port of 127.0.0.1, with this machine's programs."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmnist_sweep.errors import FatalError

USER = "team"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; ``stop`` and ``start`` make an outage.

    Attributes:
        programs: Folder of ``initdb``, ``pg_ctl`` and the rest.
        folder: Everything that the cluster writes.
        port: On 127.0.0.1.
        password: Of ``USER``, who may do everything.
        options: Settings beside the usual ones, as ``name=value``.
    """

    programs: Path
    folder: Path
    port: int
    password: str = field(repr=False)
    options: tuple[str, ...] = ("fsync=off",)

    def url(self, database: str, *, password: bool = True) -> str:
        """SQLAlchemy's address of a database."""
        secret = f":{self.password}" if password else ""
        return f"postgresql+psycopg://{USER}{secret}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str) -> str:
        """Makes an empty database whose name begins with ``name``; returns its address."""
        database = f"{name}_{secrets.token_hex(4)}"
        self.execute("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Runs one statement; its rows, if it gives any."""
        import psycopg

        where = self.url(database).replace("+psycopg", "")
        with psycopg.connect(where, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    @property
    def pid(self) -> int:
        """Process id of the server, whose children are all the others."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Starts the cluster and waits until it answers."""
        settings = ("listen_addresses=127.0.0.1", "max_connections=200", *self.options)
        words = " ".join(["-p", str(self.port), "-k", str(self.folder), *(f"-c {it}" for it in settings)])
        self._control("start", "-w", "-l", str(self.folder / "log"), "-o", words)

    def stop(self) -> None:
        """Ends the cluster and every connection at once, as a power cut would."""
        self._control("stop", "-w", "-m", "immediate")

    def _control(self, *words: str) -> None:
        run_as_user([str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), *words])


def find_programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest that is installed; None where there are none."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    newest = max(versions, key=lambda path: int(path.parent.name), default=None)
    return newest or (Path(on_path).resolve().parent if on_path else None)


def new_cluster(folder: Path, options: tuple[str, ...] = ("fsync=off",)) -> Postgres:
    """Makes and starts a cluster under ``folder``, which must be one that others may enter.

    Args:
        folder: For everything that it writes.
        options: See ``Postgres``.

    Raises:
        FatalError: PostgreSQL is not installed, or did not start.
    """
    found = find_programs()
    if found is None:
        raise FatalError("no PostgreSQL in /usr/lib/postgresql or on PATH; valid: one that is installed")
    password = f"canary-{secrets.token_hex(12)}"
    secret = folder / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        who = _somebody()
        for path in (folder, secret):
            os.chown(path, who.pw_uid, who.pw_gid)
    words = ["-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret)]
    run_as_user([str(found / "initdb"), *words, "--no-sync", "--no-instructions", "-E", "UTF8", "--locale", "C"])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    cluster = Postgres(found, folder, port, password, options)
    cluster.start()
    return cluster


def run_as_user(command: list[str]) -> None:
    """Runs a command as somebody who is not root, which PostgreSQL insists on.

    Raises:
        FatalError: It failed.
    """
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = _somebody()
        identity = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    # pg_ctl's child keeps the streams that it is given, so a pipe would never close.
    with tempfile.TemporaryFile() as told:
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT, check=False, **identity
        )
        told.seek(0)
        if done.returncode:
            raise FatalError(f"{command[0]}: {told.read().decode(errors='replace').strip()}")


def _somebody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
