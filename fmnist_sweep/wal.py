"""Tells a damaged write-ahead log of SQLite from one whose last entry was never finished.

SQLite reads such a log up to the first frame that is not whole and keeps quiet about the rest, as a power cut may
leave the last transaction half-written. So a damaged byte would silently take back all that was acknowledged after
it. The format is that of SQLite's "Database File Format", section 4, "The Write-Ahead Log".
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

_HEADER_BYTES = 32
_FRAME_BYTES = 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}  # and how the words that go into a checksum are read
_LOOK_AGAIN_S = 0.05
_MASK = 0xFFFFFFFF


def log_of(database: Path) -> Path:
    """The write-ahead log of ``database``."""
    return database.with_name(f"{database.name}-wal")


def damaged(database: Path) -> bool:
    """Whether the log of ``database`` holds damage that hides something acknowledged.

    Only the last transaction can be half-written, so where a frame is not whole and two transactions or more come
    after it, something that was on disk has been altered. A log that was cut off can't be told from a shorter one.

    Another process may write to the log meanwhile: only what two looks find in the same bytes counts.
    """
    first = _content(database)
    if not _hides_something(first):
        return False
    time.sleep(_LOOK_AGAIN_S)
    return _content(database) == first


def _content(database: Path) -> bytes:
    try:
        return log_of(database).read_bytes()
    except FileNotFoundError:
        return b""


def _hides_something(log: bytes) -> bool:
    if len(log) < _HEADER_BYTES + _FRAME_BYTES:
        return False
    magic, _, page_bytes, _, *salts, first, second = struct.unpack(">8I", log[:_HEADER_BYTES])
    order = _MAGIC.get(magic)
    if order is None or (first, second) != _checksum(log[:24], order, (0, 0)):
        return True
    so_far, whole, commits_after = (first, second), True, 0
    for head, page in _frames(log, page_bytes):
        _, size_after_commit, *frame_salts, first, second = struct.unpack(">6I", head)
        if not any(one == other for one, other in zip(frame_salts, salts, strict=True)):
            whole = False  # left over from before the log was begun anew, which changes both
            continue
        whole = whole and frame_salts == salts
        if whole:
            so_far = _checksum(head[:8] + page, order, so_far)
            whole = so_far == (first, second)
        if not whole:
            commits_after += size_after_commit > 0
    return commits_after > 1


def _frames(log: bytes, page_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Header and page of each frame that is there in full."""
    step = _FRAME_BYTES + page_bytes
    for start in range(_HEADER_BYTES, len(log) - step + 1, step):
        yield log[start : start + _FRAME_BYTES], log[start + _FRAME_BYTES : start + step]


def _checksum(content: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    """SQLite's running checksum, carried on from ``before``."""
    first, second = before
    for even, odd in struct.iter_unpack(f"{order}2I", content):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
