"""Faults done for real: disks that are full or can't be written, and what it takes to make them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Disk:
    """A small file system of its own."""

    path: Path

    def fill(self, leave: int = 0) -> Path:
        """Fills it up but for ``leave`` bytes; what is returned is to be removed to make room."""
        filler = self.path / f".filler-{len(list(self.path.glob('.filler-*')))}"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        with filler.open("r+b") as file:
            file.truncate(max(0, filler.stat().st_size - leave))
        return filler

    def read_only(self) -> None:
        """From now on nothing can be written."""
        _mount("-o", "remount,ro", str(self.path))

    def writable(self) -> None:
        """Takes ``read_only`` back."""
        _mount("-o", "remount,rw", str(self.path))


@contextmanager
def full_disk(at: Path, *, kib: int) -> Iterator[Disk]:
    """A file system in memory, at the folder ``at``, that holds ``kib`` KiB."""
    at.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(at))
    try:
        yield Disk(at)
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@cache
def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with full_disk(Path(folder) / "disk", kib=64):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


tiny_disk = pytest.mark.skipif(not _can_mount(), reason="needs the right to mount a file system, as root has")
