"""Copies of files with their checksums, each file as it was at one moment, while others go on writing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlflow_server.errors import ServerError

_CHUNK = 1 << 20
_TRIES = 5
_PAUSE_S = 0.2


def files_of(folder: Path) -> Iterator[Path]:
    """The files below ``folder``, as paths relative to it, in order; links and odd files are left out."""
    for name, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(name) / file
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder)


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def copy(source: Path, target: Path) -> str:
    """Copies a file that somebody may be writing to, and makes the folders above ``target``.

    Returns:
        SHA-256 of the copy; "" where the file was deleted meanwhile.

    Raises:
        ServerError: It can't be read or written, or changes all the time.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        try:
            before = source.stat()
            found = _copy_once(source, target)
            after = source.stat()
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return ""
        except OSError as error:
            raise ServerError(f"{source} can't be copied to {target}: {error.strerror or error}") from None
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return found
        time.sleep(_PAUSE_S)
    raise ServerError(f"{source} can't be copied: it changes all the time")


def _copy_once(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def write_sums(folder: Path, sums: dict[str, str], name: str) -> None:
    """Writes the checksums as the command ``sha256sum --check`` reads them.

    Raises:
        ServerError: A file's name can't be written so.
    """
    odd = next((path for path in sums if "\n" in path or "\\" in path), None)
    if odd is not None:
        raise ServerError(f"a file is named {odd!r}; valid: no line break or backslash in the name")
    lines = [f"{found}  {path}\n" for path, found in sorted(sums.items())]
    (folder / name).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path, name: str) -> list[str]:
    """Compares a folder with its checksums.

    Returns:
        The files, as the checksums name them.

    Raises:
        ServerError: A file is missing, altered, or there without a checksum.
    """
    try:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"{folder} is no backup: {name} can't be read ({error})") from None
    wanted = {path: found for found, _, path in (line.partition("  ") for line in lines)}
    there = {path.as_posix() for path in files_of(folder)} - {name}
    for path in sorted(wanted.keys() | there):
        if path not in wanted:
            raise ServerError(f"{folder}: {path} is in no list of the backup's files")
        if path not in there:
            raise ServerError(f"{folder}: {path} is missing")
        found = checksum(folder / path)
        if found != wanted[path]:
            raise ServerError(f"{folder}: {path} has SHA-256 {found[:16]}…, expected {wanted[path][:16]}…")
    return sorted(wanted)
