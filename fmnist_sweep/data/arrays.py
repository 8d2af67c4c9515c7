"""Arrays in IDX and .npz files, read with care.

What a file claims to hold is checked before memory is asked for, sums of the packing are checked to the end, and
nothing is ever unpickled.
"""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep.errors import DataError, first_line

Bytes = NDArray[np.uint8]

MAX_BYTES = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images (count, height, width, channels) and their labels."""

    images: Bytes
    labels: Bytes


class Outline(NamedTuple):
    """What an array is, before it is read: its shape and the name of its type."""

    shape: tuple[int, ...]
    dtype: str


def read_idx(path: Path) -> Bytes:
    """Reads an IDX file of unsigned bytes, packed by gzip or not, as a read-only array.

    Raises:
        DataError: The file can't be read, or is damaged.
    """
    with _idx(path) as file:
        shape = _idx_shape(file)
        expected = math.prod(shape)
        # One byte more than needed, so that what follows the data is noticed and gzip checks its own sum.
        content = file.read(expected + 1)
        if len(content) != expected:
            found = f"only {len(content)}" if len(content) < expected else "more"
            raise ValueError(f"its header names {_by(shape)} = {expected} bytes, it holds {found}")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def outline_idx(path: Path) -> Outline:
    """What an IDX file holds, by its header.

    Raises:
        DataError: As ``read_idx``.
    """
    with _idx(path) as file:
        return Outline(_idx_shape(file), "uint8")


@contextmanager
def _idx(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is no good IDX file: {first_line(error)}") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def _idx_shape(file: IO[bytes]) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or not 1 <= magic[3] <= 4:
        raise ValueError(f"it starts with {magic.hex() or 'nothing'}; valid: 00000801 to 00000804")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("it ends within its header")
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    if math.prod(shape) > MAX_BYTES:
        raise ValueError(f"its header names {_by(shape)} bytes; valid: up to {MAX_BYTES} bytes")
    return shape


def outlines_npz(path: Path) -> dict[str, Outline]:
    """What the arrays of an .npz file are, by name, from their headers.

    Raises:
        DataError: The file can't be read, or is damaged.
    """
    with _npz(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _npy_outline(archive, name) for name in names}


def read_npz(path: Path, name: str) -> NDArray[Any]:
    """Reads one array of an .npz file; arrays of objects are refused.

    Raises:
        DataError: The file can't be read, or is damaged.
    """
    with _npz(path) as archive:
        shape, dtype = _npy_outline(archive, f"{name}.npy")
        if math.prod(shape) * np.dtype(dtype).itemsize > MAX_BYTES:
            raise ValueError(f"{name} is {_by(shape)} of {dtype}; valid: up to {MAX_BYTES} bytes")
        with archive.open(f"{name}.npy") as file:
            found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # reading to the end has the archive check its own sum
                raise ValueError(f"{name} goes on after its {_by(shape)} values")
        return found


@contextmanager
def _npz(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"{path} is no good .npz file: {first_line(error)}") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def _npy_outline(archive: zipfile.ZipFile, name: str) -> Outline:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{name} is of version {version[0]}.{version[1]}; valid: 1.0, 2.0")
        shape, _, dtype = readers[version](file)
    return Outline(tuple(shape), str(dtype))


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
