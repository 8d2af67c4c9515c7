"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep import durable
from tests.strategies import CALM

FULL_DISK = """
import resource, sys
from pathlib import Path
from fmnist_sweep import durable

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    durable.write(Path(sys.argv[1]), bytes(100_000))
except OSError as error:
    print(error.strerror)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"", b"new" * 1000):
        durable.write(path, content)
        assert path.read_bytes() == content
        assert durable.sha256(path) == hashlib.sha256(content).hexdigest()
    assert names(path.parent) == ["file"]


def test_an_exception_while_writing_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write(path, b"old")
    not_bytes: Any = "text"
    with pytest.raises(TypeError):
        durable.write(path, not_bytes)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_no_room_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write(path, b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_can_not_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "file" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        durable.write(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]


# Sealed files


def read_back(raw: bytes) -> bytes | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(raw)
        return durable.read_sealed(path)


def sealed(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        durable.write_sealed(path, content)
        return path.read_bytes()


def test_a_missing_sealed_file_is_none(tmp_path: Path) -> None:
    assert durable.read_sealed(tmp_path / "none") is None
    assert durable.read_sealed(tmp_path / "nor" / "its" / "folder") is None


@CALM
@given(st.binary(max_size=200))
def test_what_was_sealed_is_read_back(content: bytes) -> None:
    assert read_back(sealed(content)) == content


@CALM
@given(st.binary(max_size=50))
def test_every_truncation_is_noticed(content: bytes) -> None:
    raw = sealed(content)
    assert [length for length in range(len(raw)) if read_back(raw[:length]) is not None] == []


@CALM
@given(st.binary(max_size=200), st.data())
def test_every_change_of_a_byte_is_noticed(content: bytes, data: st.DataObject) -> None:
    raw = bytearray(sealed(content))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert read_back(bytes(raw)) is None


@CALM
@given(st.binary(max_size=50), st.binary(min_size=1, max_size=50))
def test_what_is_appended_is_noticed(content: bytes, more: bytes) -> None:
    assert read_back(sealed(content) + more) is None
