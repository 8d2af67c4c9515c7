"""A real PostgreSQL for tests; where the machine has none, Debian's package is installed if the tests run as root."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import postgres as clusters
from benchmarks.postgres import USER as USER
from benchmarks.postgres import Postgres as Postgres
from tests.debian import can_install, install


def new_cluster(folder: Path) -> Postgres:
    """Makes and starts a cluster under ``folder``, with programs that are installed first if need be."""
    if clusters.find_programs() is None and can_install():
        assert not (why := install("postgresql")), f"PostgreSQL can't be installed: {why}"
        assert clusters.find_programs() is not None, "Debian's package postgresql brought no initdb"
    if clusters.find_programs() is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql or on PATH, and only root can install it with apt-get")
    return clusters.new_cluster(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One cluster for all tests; each makes databases of its own."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        cluster = new_cluster(Path(name))
        try:
            yield cluster
        finally:
            cluster.stop()
