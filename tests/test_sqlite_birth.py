"""Databases that are whole or not there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fmnist_sweep.sqlite_birth import born, file_of


def made(uri: str) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.execute("CREATE TABLE complete (x)")
    database.close()


def tables(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    finally:
        database.close()


def test_one_that_is_made_in_full_is_there(tmp_path: Path) -> None:
    born(f"sqlite:///{tmp_path}/x.db", made)
    assert tables(tmp_path / "x.db") == ["complete"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_one_whose_making_is_broken_off_is_not_there(tmp_path: Path) -> None:
    def broken_off(uri: str) -> None:
        made(uri)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        born(f"sqlite:///{tmp_path}/x.db", broken_off)
    assert list(tmp_path.iterdir()) == []


def test_one_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE old (x)")
    database.close()
    born(f"sqlite:///{path}", made)
    assert tables(path) == ["old"]


def test_one_that_another_process_made_meanwhile_wins(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    def slow(uri: str) -> None:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE faster (x)")
        database.close()
        made(uri)

    born(f"sqlite:///{path}", slow)
    assert tables(path) == ["faster"]
    assert [found.name for found in tmp_path.iterdir()] == ["x.db"]


@pytest.mark.parametrize("uri", ["postgresql://me@host/db", "http://127.0.0.1:5000", "sqlite:///:memory:", "sqlite://"])
def test_other_addresses_are_no_files(uri: str) -> None:
    assert file_of(uri) is None
    born(uri, lambda _: pytest.fail("made"))
