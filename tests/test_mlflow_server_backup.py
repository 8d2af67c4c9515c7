"""Backups: whole or not there, checked before they are used, and never over something else."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_server import copies
from mlflow_server.__main__ import main
from mlflow_server.backup import SUMS, backup, restore
from mlflow_server.database import Database
from mlflow_server.errors import ServerError


class Place:
    """A database with one row and a folder with two artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(f"sqlite:///{folder}/mlflow.db")
        self.artifacts = folder / "artifacts"

    def fill(self) -> Place:
        self.folder.mkdir(parents=True)
        with closing(sqlite3.connect(self.database.file)) as db:
            db.execute("CREATE TABLE runs (name TEXT)")
            db.execute("INSERT INTO runs VALUES ('trial 7')")
            db.commit()
        for name in ("1/model/weights.npz", "1/note with ü.txt"):
            path = self.artifacts / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * 100)
        return self

    @property
    def rows(self) -> list[tuple[str]]:
        with closing(sqlite3.connect(self.database.file)) as db:
            return db.execute("SELECT name FROM runs").fetchall()

    @property
    def files(self) -> dict[str, bytes]:
        return {path.as_posix(): (self.artifacts / path).read_bytes() for path in copies.files_of(self.artifacts)}


@pytest.fixture
def full(tmp_path: Path) -> Place:
    return Place(tmp_path / "full").fill()


@pytest.fixture
def saved(full: Place, tmp_path: Path) -> Path:
    to = tmp_path / "backup"
    backup(full.database, full.artifacts, to)
    return to


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path / "empty")


def test_a_backup_brings_everything_back(full: Place, saved: Path, empty: Place) -> None:
    about = restore(empty.database, empty.artifacts, saved)
    assert (about.database, about.artifacts) == ("sqlite", 2)
    assert empty.rows == full.rows == [("trial 7",)]
    assert empty.files == full.files
    assert saved.stat().st_mode & 0o077 == 0


def test_a_backup_can_be_checked_without_this_program(saved: Path) -> None:
    check = ["sha256sum", "--check", "--quiet", SUMS]
    assert subprocess.run(check, cwd=saved, check=False).returncode == 0
    (saved / "artifacts" / "1" / "model" / "weights.npz").write_bytes(b"other")
    assert subprocess.run(check, cwd=saved, capture_output=True, check=False).returncode == 1


def test_artifacts_may_have_any_name_that_a_file_can_have(full: Place, empty: Place, tmp_path: Path) -> None:
    names = ["plots\\loss.png", "two\nlines\\n", "a\rb", "\u2028page\x85", "  spaces  ", os.fsdecode(b"\xff latin")]
    for name in names:
        (full.artifacts / name).write_text(name, errors="surrogateescape")
    saved = tmp_path / "backup"
    backup(full.database, full.artifacts, saved)
    assert subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=saved, check=False).returncode == 0
    restore(empty.database, empty.artifacts, saved)
    assert empty.files == full.files
    assert set(names) <= set(full.files)


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_nothing_is_restored_beside_what_a_lost_database_left(saved: Path, empty: Place, end: str) -> None:
    """SQLite would play it into the new one."""
    empty.folder.mkdir()
    empty.database.file.with_name(f"mlflow.db{end}").write_bytes(b"pages")
    with pytest.raises(ServerError, match=rf"not empty \(mlflow.db{end}\)"):
        restore(empty.database, empty.artifacts, saved)


def test_a_disk_that_takes_no_database_is_named(saved: Path, empty: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mlflow_server.dumps.shutil.copyfile", full_disk)
    with pytest.raises(ServerError, match=r"mlflow.db can't be written: No space left on device"):
        restore(empty.database, empty.artifacts, saved)
    assert not list(empty.folder.rglob("*.part"))


def test_links_are_not_followed(full: Place, tmp_path: Path) -> None:
    (full.artifacts / "link").symlink_to("/etc/hostname")
    (full.artifacts / "folder").symlink_to("/etc")
    assert backup(full.database, full.artifacts, tmp_path / "b").artifacts == 2


@pytest.mark.parametrize("name", ["database.sqlite", "backup.json", "artifacts/1/model/weights.npz"])
@pytest.mark.parametrize(("harm", "said"), [("alter", "has SHA-256"), ("delete", "is missing")])
def test_a_damaged_backup_is_refused(saved: Path, empty: Place, name: str, harm: str, said: str) -> None:
    file = saved / name
    file.write_bytes(file.read_bytes()[:-1] + b"#")
    if harm == "delete":
        file.unlink()
    with pytest.raises(ServerError, match=rf"{name} {said}"):
        restore(empty.database, empty.artifacts, saved)
    assert not empty.folder.exists()


def test_a_file_that_was_slipped_in_is_refused(saved: Path, empty: Place) -> None:
    (saved / "artifacts" / "more").touch()
    with pytest.raises(ServerError, match="artifacts/more is in no list"):
        restore(empty.database, empty.artifacts, saved)


@pytest.mark.parametrize("line", ["0  ../outside\n", "no checksum\n"])
def test_odd_checksums_lead_nowhere(saved: Path, empty: Place, line: str) -> None:
    (saved / SUMS).write_text((saved / SUMS).read_text() + line)
    with pytest.raises(ServerError, match="is missing"):
        restore(empty.database, empty.artifacts, saved)


def test_nothing_is_restored_over_something_else(full: Place, saved: Path, empty: Place, tmp_path: Path) -> None:
    before = full.files
    with pytest.raises(ServerError, match="the database is not empty"):
        restore(full.database, tmp_path / "new", saved)
    with pytest.raises(ServerError, match="full/artifacts is not empty"):
        restore(empty.database, full.artifacts, saved)
    assert (full.rows, full.files) == ([("trial 7",)], before)
    assert not empty.database.file.exists()


def test_nothing_is_backed_up_over_something_else(full: Place, saved: Path) -> None:
    with pytest.raises(ServerError, match="backup exists; valid: a new folder"):
        backup(full.database, full.artifacts, saved)


def test_a_backup_that_fails_leaves_nothing(full: Place, tmp_path: Path) -> None:
    full.database.file.write_bytes(b"no database" * 1000)
    with pytest.raises(ServerError, match=r"SQLite: .* can't be read"):
        backup(full.database, full.artifacts, tmp_path / "to" / "b")
    assert list((tmp_path / "to").iterdir()) == []


def test_artifacts_and_database_belong_together(full: Place, saved: Path, empty: Place, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="was made with the artifacts"):
        restore(empty.database, None, saved)
    backup(full.database, None, tmp_path / "without")
    with pytest.raises(ServerError, match="was made without the artifacts"):
        restore(empty.database, empty.artifacts, tmp_path / "without")
    assert restore(empty.database, None, tmp_path / "without").artifacts is None
    assert empty.rows == [("trial 7",)]


def test_a_backup_of_another_kind_or_release_is_refused(saved: Path, empty: Place) -> None:
    with pytest.raises(ServerError, match="is a backup of sqlite, the database is postgresql"):
        restore(Database("postgresql://me@127.0.0.1:1/x"), empty.artifacts, saved)
    about = saved / "backup.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
    lines = (saved / SUMS).read_text().splitlines()
    kept = [line for line in lines if not line.endswith("backup.json")]
    (saved / SUMS).write_text("\n".join([*kept, f"{copies.checksum(about)}  backup.json"]) + "\n")
    with pytest.raises(ServerError, match="has format 2, this release knows up to 1: upgrade"):
        restore(empty.database, empty.artifacts, saved)


def test_a_file_that_is_written_to_is_copied_whole(tmp_path: Path) -> None:
    """A client that overwrites a file while it is copied: the copy is one of the two, never half of each."""
    source, size = tmp_path / "source", 1 << 22
    source.write_bytes(b"a" * size)
    stop = threading.Event()

    def overwrite() -> None:
        for letter in (b"b", b"a", b"b"):
            if stop.wait(0.02):
                return
            source.write_bytes(letter * size)

    thread = threading.Thread(target=overwrite)
    thread.start()
    try:
        found = copies.copy(source, tmp_path / "copy")
    finally:
        stop.set()
        thread.join()
    data = (tmp_path / "copy").read_bytes()
    assert set(data) in ({ord("a")}, {ord("b")})
    assert len(data) == size
    assert found == copies.checksum(tmp_path / "copy")


def test_a_file_that_goes_away_is_left_out(tmp_path: Path) -> None:
    assert copies.copy(tmp_path / "gone", tmp_path / "copy") == ""
    assert not (tmp_path / "copy").exists()


def test_the_commands(
    full: Place, empty: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", full.database.uri)
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(full.artifacts))
    monkeypatch.chdir(tmp_path)
    assert main(["backup", "--to", "today"]) == 0
    assert "sqlite, 2 artifacts, of MLflow" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", empty.database.uri)
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(empty.artifacts))
    assert main(["restore", "--from", "today"]) == 0
    assert empty.rows == full.rows
    assert main(["restore", "--from", "today"]) == 1
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in empty.artifacts.iterdir()] == ["1"]
    shutil.rmtree(tmp_path / "today")
    assert main(["restore", "--from", "today"]) == 1
    assert "is no backup" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["all of it", "a part"])
def test_artifacts_that_cannot_be_listed_are_no_backup(
    full: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    if gone == "all of it":
        full.artifacts.rename(tmp_path / "not mounted")
    else:
        scandir = os.scandir

        def refuse(path: str) -> object:
            if str(path).endswith("model"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ServerError, match="can't be listed"):
        backup(full.database, full.artifacts, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
