"""Reading IDX and .npz files: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import data
from fmnist_sweep.data.arrays import Outline, outline_idx, outlines_npz, read_npz
from fmnist_sweep.errors import DataError
from tests.image_files import idx, one_line


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 3, 4, 3)])
def test_read_idx_gives_back_what_was_written(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = data.read_idx(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, array)


GOOD = idx(np.arange(60).reshape(3, 4, 5))
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with nothing"),
        (GOOD[:10], "within its header"),
        (GOOD[:-1], "it holds only 59"),
        (GOOD + b"x", "it holds more"),
        (b"\0\0\x0d" + GOOD[3:], "starts with 00000d03"),
        (b"\x89PNG\r\n\x1a\n", "starts with 89504e47"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "valid: up to"),
        (PACKED[:-9], "end-of-stream"),
        (PACKED + b"rubbish", "gzip"),
        (PACKED[:-8] + bytes(8), "CRC"),
        (PACKED[:10] + b"\xff" * 30, "decompress"),
        (b"\0\0\x08\x05" + bytes(20), "starts with 00000805"),
    ],
)
def test_a_damaged_idx_file_is_named_with_its_fault(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.idx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        data.read_idx(path)
    assert str(path) in one_line(caught)
    assert words in one_line(caught)


def test_an_idx_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        data.read_idx(tmp_path / "none")


def test_the_header_of_an_idx_file_tells_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(GOOD)[:-20])
    assert outline_idx(path) == Outline((3, 4, 5), "uint8")


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


PIXELS = np.arange(240, dtype=np.uint8).reshape(4, 5, 4, 3)
HELD = npz(images=PIXELS, labels=np.arange(4))


def test_npz_arrays_come_back_with_their_outlines(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(HELD)
    assert outlines_npz(path) == {"images": Outline((4, 5, 4, 3), "uint8"), "labels": Outline((4,), "int64")}
    assert np.array_equal(read_npz(path, "images"), PIXELS)
    assert np.array_equal(read_npz(path, "labels"), np.arange(4))


def packed(content: bytes) -> bytes:
    """An archive whose array ``images`` is these very bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", content)
    return file.getvalue()


def of_objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, images=np.array([print, 1], dtype=object), allow_pickle=True)
    return file.getvalue()


def of_size(shape: tuple[int, ...]) -> bytes:
    """A header that promises ``shape``, with nothing behind it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a zip file"),
        (HELD[: len(HELD) // 2], "not a zip file"),
        (flipped(npz(images=np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8))), "is no good .npz file"),
        (of_objects(), "allow_pickle"),
        (packed(b"not an array"), "magic"),
        (packed(of_size((1 << 16, 1 << 17))), "valid: up to 4294967296 bytes"),
        (packed(of_size((10, 3))), "is no good .npz file"),
        (packed(of_size((2,)) + b"abc"), "images goes on after its 2 values"),
        (packed(b"\x93NUMPY\x03\x00" + of_size((2,))[8:] + b"ab"), "version 3.0"),
    ],
)
def test_a_damaged_npz_file_is_named_with_its_fault(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_npz(path, "images")
    assert str(path) in one_line(caught)
    assert words in one_line(caught)


@pytest.mark.parametrize("read", [data.read_idx, outlines_npz])
def test_a_file_that_is_not_there(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(DataError, match="can't be read: No such file"):
        read(tmp_path / "nowhere")
