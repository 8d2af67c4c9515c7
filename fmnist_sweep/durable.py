"""Files that are whole or not there: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

# How ``write`` and ``sqlite_birth.born`` name what they have not finished: .NAME.PID.HEX, with SQLite's own endings.
SCRATCH = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}(-journal|-wal|-shm)?")
_SEAL_BYTES = hashlib.sha256().digest_size


def write(path: Path, *content: bytes) -> None:
    """Puts ``content``, part after part, at ``path``; whatever happens, readers see the old file or the whole new one.

    Raises:
        OSError: No room, or no permission; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with temporary.open("xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames inside ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_sealed(path: Path, content: bytes) -> None:
    """As ``write``, with a checksum in front that ``read_sealed`` verifies."""
    write(path, hashlib.sha256(content).digest(), content)


def read_sealed(path: Path) -> bytes | None:
    """The content of a sealed file, or None where it is missing or damaged."""
    try:
        with path.open("rb") as file:
            seal, content = file.read(_SEAL_BYTES), file.read()
    except FileNotFoundError:
        return None
    return content if hashlib.sha256(content).digest() == seal else None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path, wanted: str) -> bool:
    """Whether a file is there and has the SHA-256 that is wanted."""
    return path.exists() and sha256(path) == wanted
