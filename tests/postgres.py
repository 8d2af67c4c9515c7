"""A real PostgreSQL for tests: a cluster of its own under the temporary folder, on a free port of 127.0.0.1.

The programs are the machine's; where it has none, Debian's package is installed if the tests run as root.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER = "team"
_APT_S = 240.0


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; ``stop`` and ``start`` make an outage.

    Attributes:
        programs: Folder of ``initdb``, ``pg_ctl`` and the rest.
        folder: Everything that the cluster writes.
        port: On 127.0.0.1.
        password: Of ``USER``, who may do everything.
    """

    programs: Path
    folder: Path
    port: int
    password: str = field(repr=False)

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

    def start(self) -> None:
        """Starts the cluster and waits until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        self._control("start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """Ends the cluster and every connection at once, as a power cut would."""
        self._control("stop", "-w", "-m", "immediate")

    def _control(self, *words: str) -> None:
        run_as_user([str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), *words])


def run_as_user(command: list[str]) -> None:
    """Runs a command as somebody who is not root, which PostgreSQL insists on."""
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
        assert done.returncode == 0, f"{command[0]}: {told.read().decode(errors='replace')}"


def programs() -> Path:
    """The folder of PostgreSQL's programs, installed first where there are none and that is possible."""
    found = _programs()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _programs()
        assert found is not None, "Debian's package postgresql brought no initdb"
    if found is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql or on PATH, and only root can install it with apt-get")
    return found


def new_cluster(folder: Path) -> Postgres:
    """Makes and starts a cluster under ``folder``, which must be one that others may enter."""
    found = programs()
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
    cluster = Postgres(found, folder, port, password)
    cluster.start()
    return cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One cluster for all tests; each makes databases of its own."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        cluster = new_cluster(Path(name))
        try:
            yield cluster
        finally:
            cluster.stop()


def _programs() -> Path | None:
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    newest = max(versions, key=lambda path: int(path.parent.name), default=None)
    return newest or (Path(on_path).resolve().parent if on_path else None)


def _somebody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "postgresql"]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_APT_S, check=False)
        if command == install and done.returncode == 0:
            return
    raise AssertionError(f"PostgreSQL can't be installed: {done.stderr.strip()[-400:]}")
