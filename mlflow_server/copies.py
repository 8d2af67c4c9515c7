"""Copies of files with their checksums, each file as it was at one moment, while others go on writing."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from mlflow_server.errors import ServerError

_CHUNK = 1 << 20
_TRIES = 5
_PAUSE_S = 0.2
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def files_of(folder: Path) -> Iterator[Path]:
    """The files below ``folder``, as paths relative to it, in order; links and odd files are left out.

    Raises:
        ServerError: There is no such folder, or one within it can't be listed: what is not seen would be missed.
    """

    def refuse(error: OSError) -> None:
        raise ServerError(f"{error.filename} can't be listed: {error.strerror or error}") from None

    for name, folders, files in os.walk(folder, onerror=refuse):
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
    """Writes the checksums as the command ``sha256sum --check`` reads them, whatever files are named."""
    lines = [_line(found, path) for path, found in sorted(sums.items())]
    (folder / name).write_bytes(os.fsencode("".join(f"{line}\n" for line in lines)))


def _line(found: str, path: str) -> str:
    """As ``sha256sum`` has it: a backslash at the front says that some of the name's letters are written with one."""
    written = "".join(_ESCAPES.get(letter, letter) for letter in path)
    return f"{found}  {path}" if written == path else f"\\{found}  {written}"


def _read(line: str) -> tuple[str, str]:
    """The path and the checksum of a line."""
    found, _, path = line.partition("  ")
    if not found.startswith("\\"):
        return path, found
    letters = {escape: letter for letter, escape in _ESCAPES.items()}
    return re.sub(r"\\.", lambda match: letters.get(match[0], match[0]), path), found[1:]


def verify(folder: Path, name: str) -> list[str]:
    """Compares a folder with its checksums.

    Returns:
        The files, as the checksums name them.

    Raises:
        ServerError: A file is missing, altered, or there without a checksum.
    """
    try:
        lines = os.fsdecode((folder / name).read_bytes()).split("\n")
    except OSError as error:
        raise ServerError(f"{folder} is no backup: {name} can't be read ({error})") from None
    wanted = dict(_read(line) for line in lines if line)
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
