"""Files on their way between driver and nodes: the images once a machine, checkpoints and weights with each report."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import durable
from fmnist_sweep.data import PreparedData
from fmnist_sweep.errors import FatalError

Raw = NDArray[np.uint8]  # an array travels through Ray's object store without being copied; bytes do not


@dataclass(frozen=True, slots=True)
class Shipment:
    """The images as a node can have them.

    Attributes:
        sha256: Of the images' and the labels' file.
        images: Ray's reference to the file's bytes, in the driver's object store.
        labels: The same for the labels.
    """

    sha256: tuple[str, str]
    images: Any
    labels: Any


def raw(content: bytes | None) -> Raw | None:
    """Bytes as they travel."""
    return None if content is None else np.frombuffer(content, np.uint8)


def shipment(data: PreparedData, put: Callable[[Raw], Any]) -> Shipment:
    """Puts the images where nodes can fetch them.

    Args:
        data: On the driver's disk.
        put: Ray's.
    """
    images, labels = data.images.read_bytes(), data.labels.read_bytes()
    sums = hashlib.sha256(images).hexdigest(), hashlib.sha256(labels).hexdigest()
    return Shipment(sums, put(np.frombuffer(images, np.uint8)), put(np.frombuffer(labels, np.uint8)))


def local(data: PreparedData, sent: Shipment, get: Callable[[Any], Raw]) -> tuple[PreparedData, int]:
    """The images on this machine's disk: what is there already is used if its checksum is right.

    Args:
        data: As the driver has it.
        sent: From ``shipment``.
        get: Ray's.

    Returns:
        The same data with this machine's files, and the bytes that had to be fetched.

    Raises:
        FatalError: What came is not what was sent.
    """
    folder = cache_folder() / "data" / sent.sha256[0][:32]
    paths = folder / "images.npy", folder / "labels.npy"
    fetched = 0
    with locked(folder / "lock"):
        for path, sum_, reference in zip(paths, sent.sha256, (sent.images, sent.labels), strict=True):
            if path.exists() and durable.sha256(path) == sum_:
                continue
            content = get(reference).tobytes()
            if hashlib.sha256(content).hexdigest() != sum_:
                raise FatalError(f"{path}: other images came than were sent")
            durable.write(path, content)
            fetched += len(content)
    return replace(data, images=paths[0], labels=paths[1]), fetched


def cache_folder() -> Path:
    """This user's folder for what is sent to this machine, under ``TMPDIR``; nobody else may write there.

    Raises:
        FatalError: It belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"fmnist-sweep-node-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise FatalError(f"{folder} belongs to somebody else; set TMPDIR on this node to a folder of your own")
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
