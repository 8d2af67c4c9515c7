"""Where results say they come from."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep import provenance


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_this_package_and_of_no_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "mine").touch()
    git(tmp_path, "add", "mine")
    git(tmp_path, "commit", "--quiet", "--message", "somebody's")
    installed = tmp_path / ".venv" / "provenance.py"
    installed.parent.mkdir()
    shutil.copy(provenance.__file__, installed)
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.git_commit() == ""
    git(tmp_path, "add", "--force", str(installed))
    git(tmp_path, "commit", "--quiet", "--message", "ours")
    assert provenance.git_commit() == git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setattr(provenance, "__file__", "/provenance.py")
    assert provenance.git_commit() == ""


def test_a_package_whose_metadata_is_gone_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    found: list[Any] = [metadata.Distribution.at(broken), metadata.distribution("numpy")]
    monkeypatch.setattr(provenance, "distributions", lambda: found)
    assert provenance.environment() == f"numpy=={metadata.version('numpy')}"
