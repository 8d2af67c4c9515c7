"""The home folder: names that are safe, a place that can be written, one driver for a study."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fmnist_sweep.errors import HomeError, StudyError, UsageError
from fmnist_sweep.home import Home, StudyFolder, checked_name

HOLD = """
import sys
from pathlib import Path
from fmnist_sweep.home import StudyFolder

with StudyFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    found = Home(tmp_path).study("mine")
    found.path.mkdir(parents=True)
    return found


@contextmanager
def held_elsewhere(folder: StudyFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study while the block runs, unless the block ends it."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc", "a\\b", "a..b", "%2e%2e", "%2e%2e%2fx", ".hidden", "-x", "_x"),
        *("a b", "a\n", "a\0b", "é", "a:b", "~", "$HOME", "a;b", "x" * 81),
    ],
)
def test_a_hostile_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Home(tmp_path).study(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        StudyFolder(tmp_path).job(name)


@pytest.mark.parametrize("name", ["a", "7", "default", "Big-one_2.1", "a.", "x" * 80])
def test_a_good_name_is_a_folder_under_home(tmp_path: Path, name: str) -> None:
    assert checked_name("--study", name) == name
    assert Home(tmp_path).study(name).path == tmp_path / "studies" / name


def test_create_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "some" / "where")
    for _ in range(2):
        home.create()
        assert list(home.path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "home", "deep/home"])
def test_create_where_a_file_is_in_the_way(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / below
    with pytest.raises(HomeError, match=f"--home {path} can't be written: ") as caught:
        Home(path).create()
    assert "\n" not in str(caught.value)


def test_a_study_exists_once_it_has_a_ledger(tmp_path: Path, folder: StudyFolder) -> None:
    before = (folder.exists, Home(tmp_path).studies())
    folder.ledger.touch()
    after = (folder.exists, Home(tmp_path).studies())
    assert (before, after) == ((False, []), (True, ["mine"]))


# One driver for a study


def test_another_process_is_kept_out_and_told_by_whom(folder: StudyFolder) -> None:
    with held_elsewhere(folder) as other:
        assert folder.in_use
        with pytest.raises(StudyError, match=rf"'mine' .*pid {other.pid}\)") as caught, folder.locked():
            pytest.fail("two drivers hold one study")
    assert "\n" not in str(caught.value)


def test_the_lock_goes_with_a_killed_process(folder: StudyFolder) -> None:
    with held_elsewhere(folder) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert not folder.in_use
        with folder.locked():
            assert folder.in_use


def test_the_lock_ends_with_its_block(folder: StudyFolder) -> None:
    with pytest.raises(KeyError), folder.locked():
        raise KeyError
    assert not folder.in_use
    with folder.locked():
        pass


def test_nothing_is_in_use_that_was_never_started(tmp_path: Path, folder: StudyFolder) -> None:
    assert not folder.in_use
    assert not Home(tmp_path).study("other").in_use
    assert not (folder.path / "lock").exists()


def test_a_folder_that_no_study_can_have_is_no_study(tmp_path: Path) -> None:
    for name in ("mine", "mine (copy)", "elsewhere"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "ledger.db").touch()
    (tmp_path / "studies" / "a-link").symlink_to(tmp_path / "studies" / "elsewhere")
    assert Home(tmp_path).studies() == ["elsewhere", "mine"]


@pytest.mark.parametrize("name", ["what?", "job_feature%2Fx", "a%20b"])
def test_a_path_that_addresses_of_databases_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HomeError, match=r"its full path has .*; valid: one without \? and without %XX"):
        Home(tmp_path / name).create()
    assert list(tmp_path.iterdir()) == []
    Home(tmp_path / "50% off").create()


def test_whether_a_study_runs_can_be_asked_where_nothing_may_be_written(folder: StudyFolder) -> None:
    with held_elsewhere(folder):
        (folder.path / "lock").chmod(0o444)
        assert folder.in_use
    assert not folder.in_use
