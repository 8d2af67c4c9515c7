"""Files known by their MD5 sums, and how to get them: from HTTP mirrors, else out of Debian's package.

A download goes on where it stopped, takes its final name once its sum is right, and is never waited
for without a limit.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fmnist_sweep import durable
from fmnist_sweep.errors import DataError, UsageError

MIRROR_VARIABLE = "FMNIST_MIRROR"
ADVICE = "put the files in a folder and name it with --data-dir DIR or FMNIST_DATA_DIR"
ATTEMPTS_PER_FILE = 4
CHUNK = 1 << 16

Say = Callable[[str], None]


class Version(NamedTuple):
    """One form in which a file is published."""

    md5: str
    size: int


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file must be.

    Attributes:
        name: Its name, the same in every place.
        versions: The original first; the others hold the same data, packed otherwise.
    """

    name: str
    versions: tuple[Version, ...]

    @property
    def md5(self) -> str:
        """The sum of the original, whichever version is at hand."""
        return self.versions[0].md5


class FileState(NamedTuple):
    """What was found at a path; ``fault`` is empty if it is what it must be."""

    md5: str
    fault: str

    @property
    def missing(self) -> bool:
        """Whether there is no file at all."""
        return not self.md5


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """Where files come from, in this order, and the time limits.

    Attributes:
        mirrors: Base addresses; one in ``FMNIST_MIRROR`` goes before them.
        package: Debian's package that holds the files, or None to leave apt-get out.
        connect_seconds: Limit for a connection to come about.
        read_seconds: Limit for a silence of the server.
        file_seconds: Limit for one file from one mirror.
        apt_seconds: Limit for all that apt-get and dpkg-deb do.
        lock_seconds: Limit for waiting on another process that fetches into the same folder.
    """

    mirrors: tuple[str, ...]
    package: str | None = None
    connect_seconds: float = 5
    read_seconds: float = 30
    file_seconds: float = 600
    apt_seconds: float = 180
    lock_seconds: float = 900


class RouteError(Exception):
    """One way to get a file failed; the message says why in a few words."""


def default_cache() -> Path:
    """The folder where fetched files stay.

    Raises:
        DataError: This user has no home folder.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The XDG specification has a relative path ignored.
        return (named if named.is_absolute() else Path.home() / ".cache") / "fmnist_sweep"
    except RuntimeError as error:
        raise DataError(f"there is no home folder for the cache: set XDG_CACHE_HOME, or {ADVICE}") from error


def examine(path: Path, facts: FileFacts) -> FileState:
    """Compares a file with what it must be.

    Raises:
        DataError: The file is there but can't be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            size = file.tell()
    except FileNotFoundError:
        return FileState("", f"{path} is missing")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    if found in (version.md5 for version in facts.versions):
        return FileState(found, "")
    whole = min(version.size for version in facts.versions)
    what = f"is truncated ({size} of {whole} bytes)" if size < whole else "was altered"
    expected = " or ".join(version.md5 for version in facts.versions)
    return FileState(found, f"{path} {what}: MD5 expected {expected}, found {found}")


def fetch_into(folder: Path, files: Sequence[FileFacts], say: Say, plan: FetchPlan) -> None:
    """Brings into ``folder`` those of ``files`` that aren't there whole.

    Raises:
        DataError: No way led to all of them, or the folder can't be written.
        UsageError: ``FMNIST_MIRROR`` is no address.
    """
    mirrors = _mirrors(plan)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, say, plan.lock_seconds):
            _by_any_route(files, folder, say, plan, mirrors)
    except OSError as error:
        raise DataError(f"can't write the data set to {folder}: {error.strerror or error}; {ADVICE}") from error


def _mirrors(plan: FetchPlan) -> tuple[str, ...]:
    own = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not own:
        return plan.mirrors
    if not re.match(r"https?://[^/]", own):
        masked = re.sub(r"[^/@]*@", "***@", own)
        raise UsageError(f"{MIRROR_VARIABLE} is {masked!r}; valid: an address that starts with http:// or https://")
    return (own, *plan.mirrors)


@contextmanager
def _locked(folder: Path, say: Say, seconds: float) -> Iterator[None]:
    """Holds the folder, so that two processes never write to one ``.part`` file."""
    deadline = time.monotonic() + seconds
    told = False
    with (folder / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DataError(f"another process has been fetching into {folder} for {seconds:g} s") from None
                if not told:
                    say(f"Waiting for another process that fetches into {folder}")
                told = True
                time.sleep(0.1)
        yield


def _by_any_route(
    files: Sequence[FileFacts], folder: Path, say: Say, plan: FetchPlan, mirrors: tuple[str, ...]
) -> None:
    reasons: list[str] = []
    for base in (*mirrors, None):
        wanted = [facts for facts in files if examine(folder / facts.name, facts).fault]
        if not wanted:
            break
        name = _host(base) if base else f"apt-get download {plan.package}"
        try:
            if base:
                _from_mirror(base, wanted, folder, say, plan)
            elif plan.package:
                _from_package(plan.package, wanted, folder, say, plan.apt_seconds)
        except RouteError as error:
            reasons.append(f"{name}: {error}")
            say(f"{name}: {error}")
    bad = [facts.name for facts in files if examine(folder / facts.name, facts).fault]
    if bad:
        tried = "; ".join(reasons) or "there is nowhere to fetch from"
        raise DataError(f"can't fetch {', '.join(bad)} ({tried}); {ADVICE}")
    for facts in files:
        (folder / f"{facts.name}.part").unlink(missing_ok=True)


def _from_mirror(base: str, wanted: Sequence[FileFacts], folder: Path, say: Say, plan: FetchPlan) -> None:
    import requests

    with requests.Session() as session:
        for facts in wanted:
            say(f"Fetching {facts.name} ({facts.versions[0].size:,} bytes) from {_host(base)}")
            _download(session, f"{base.rstrip('/')}/{facts.name}", facts, folder, plan)


def _download(session: Any, url: str, facts: FileFacts, folder: Path, plan: FetchPlan) -> None:
    part = folder / f"{facts.name}.part"
    deadline = time.monotonic() + plan.file_seconds
    for attempt in range(1, ATTEMPTS_PER_FILE + 1):
        before = _size(part)
        try:
            _stream(session, url, part, facts, plan, deadline)
        except RouteError:
            # Only a connection that broke on the way is worth another try at the same mirror.
            if _size(part) > before and attempt < ATTEMPTS_PER_FILE and time.monotonic() < deadline:
                continue
            raise
        state = examine(part, facts)
        if not state.fault:
            _place(part, folder / facts.name)
            return
        part.unlink(missing_ok=True)
        # The wrong bytes may be those that an earlier run left behind; then the mirror gets one clean try.
        if not before:
            raise RouteError(f"{facts.name} has MD5 {state.md5}, expected {facts.md5}")
    raise RouteError(f"{facts.name} failed {ATTEMPTS_PER_FILE} times")


def _stream(session: Any, url: str, part: Path, facts: FileFacts, plan: FetchPlan, deadline: float) -> None:
    """Adds to ``part`` what it lacks; it may hold wrong bytes afterwards, its sum tells."""
    start = _size(part)
    # A server must send the packed file as it is, not take it for a packed answer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    limit = max(version.size for version in facts.versions)
    with _network_errors(), session.get(url, stream=True, headers=headers, timeout=_limits(plan)) as answer:
        if start and answer.status_code == 416:
            return
        append = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-") and answer.status_code == 206
        if answer.status_code != 200 and not append:
            raise RouteError(f"HTTP {answer.status_code} for {facts.name}")
        with part.open("ab" if append else "wb") as file:
            # read1 hands over what has come, so that a server of one byte a second meets the deadline too.
            while chunk := answer.raw.read1(CHUNK, decode_content=False):
                file.write(chunk)
                if time.monotonic() > deadline:
                    raise RouteError(f"{facts.name} took longer than {plan.file_seconds:g} s")
                if file.tell() > limit:
                    file.truncate(0)
                    raise RouteError(f"{facts.name} is longer than {limit} bytes")


@contextmanager
def _network_errors() -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise RouteError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    text = f"{type(error).__name__} {error}"
    words = {
        "NameResolution": "name not resolved",
        "refused": "connection refused",
        "unreachable": "network unreachable",
        "timed out": "no answer in time",
        "Timeout": "no answer in time",
        "Proxy": "the proxy failed",
        "SSL": "TLS failed",
        "IncompleteRead": "connection lost",
        "Connection": "connection lost",
    }
    return next((meaning for mark, meaning in words.items() if mark in text), type(error).__name__)


def _from_package(package: str, wanted: Sequence[FileFacts], folder: Path, say: Say, seconds: float) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise RouteError(f"there is no {tool}")
    say(f"Fetching Debian's package {package} with apt-get")
    deadline = time.monotonic() + seconds
    for stale in folder.glob(".apt-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".apt-") as name:
        work = Path(name)
        try:
            _run(["apt-get", "download", package], work, deadline)
        except RouteError as error:
            if os.geteuid() != 0 or not re.search("Unable to locate|find a source|404", str(error)):
                raise
            _run(["apt-get", "update"], work, deadline)
            _run(["apt-get", "download", package], work, deadline)
        for archive in work.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), str(work)], work, deadline)
        for facts in wanted:
            found = next((path for path in work.rglob(facts.name) if not examine(path, facts).fault), None)
            if found is None:
                raise RouteError(f"the package has no {facts.name} with a known MD5 sum")
            _place(found, folder / facts.name)


def _run(command: list[str], folder: Path, deadline: float) -> None:
    """Runs a command; if it fails, its first line of error is the reason."""
    env = {**os.environ, "LC_ALL": "C"}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # A session of its own, because apt-get's helpers outlive it when it's killed alone.
    with subprocess.Popen(
        command, cwd=folder, env=env, text=True, errors="replace", start_new_session=True, **streams
    ) as process:
        try:
            output, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise RouteError(f"{command[0]} took too long") from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        lines = [line for line in output.splitlines() if line.startswith("E:")] or output.split("\n")
        raise RouteError(lines[0].removeprefix("E:").strip() or f"exit code {process.returncode}")


def _place(path: Path, target: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(target)
    durable.sync_folder(target.parent)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _limits(plan: FetchPlan) -> tuple[float, float]:
    return plan.connect_seconds, plan.read_seconds


def _host(base: str) -> str:
    """The host alone: the address may hold a password."""
    return urlsplit(base).netloc.rpartition("@")[2]
