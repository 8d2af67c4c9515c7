"""Every path under the home folder, in one place, and the lock that keeps a study to one driver."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fmnist_sweep import durable
from fmnist_sweep.errors import HomeError, StudyError, UsageError

_PROBE_BYTES = 65_536  # so that a disk that is full to the last block is noticed
MAX_NAME = 80
CHECKPOINT, WEIGHTS = "checkpoint", "weights.npz"
ARTIFACTS = "mlartifacts"
_ODD = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # in an address the first ends the path, the second is another character
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name


def checked_name(what: str, name: str) -> str:
    """``name``, if it is safe as a file's and as a study's name.

    Raises:
        UsageError: It is not.
    """
    if not _is_name(name):
        raise UsageError(
            f"{what} is {name!r}; valid: up to {MAX_NAME} letters, digits, dots, dashes and underscores, "
            "a letter or digit first, no two dots together"
        )
    return name


def _no_link(what: str, path: Path) -> Path:
    """``path``, if it is not a link, which might lead anywhere.

    Raises:
        UsageError: It is one.
    """
    if path.is_symlink():
        raise UsageError(f"{what} {path.name!r}: {path} is a link; valid: a folder of its own")
    return path


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one study."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The record of all that happened."""
        return self.path / "ledger.db"

    @property
    def log(self) -> Path:
        """What the workers' libraries print."""
        return self.path / "workers.log"

    @property
    def exists(self) -> bool:
        """Whether the study was ever started."""
        return self.ledger.exists()

    @property
    def in_use(self) -> bool:
        """Whether a driver holds the study now."""
        try:
            file = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

    @property
    def jobs(self) -> Path:
        """Holds a folder for each job."""
        return self.path / "jobs"

    @property
    def has_jobs(self) -> bool:
        """Whether anything was trained."""
        return any(self.jobs.glob("*"))

    def job(self, key: str) -> Path:
        """The folder of one job."""
        return _no_link("job", self.jobs / checked_name("job", key))

    def weights(self, key: str) -> Path:
        """The kept weights of one job."""
        return self.job(key) / WEIGHTS

    def checkpoint(self, key: str) -> Path:
        """The state of one job's unfinished training."""
        return self.job(key) / CHECKPOINT

    def clear_scratch(self) -> None:
        """Removes what workers that were ended had not written to its end; for whoever holds the study."""
        for path in self.jobs.glob("*/.*"):
            if durable.SCRATCH.fullmatch(path.name):
                path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the study for one driver; the lock goes with the process, however it ends.

        Raises:
            StudyError: Another driver has it, or has just put it aside.
            OSError: The lock can't be written, or is a link.
        """
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            try:
                _lock(file)
            except OSError:
                owner = os.pread(file, 32, 0).decode(errors="replace").strip()
                raise StudyError(
                    f"study {self.path.name!r} is being run by another process (pid {owner or 'unknown'}); "
                    "wait for it, or choose another --study"
                ) from None
            if not _is_at(file, self.path / "lock"):  # it was opened before the folder got another name
                raise StudyError(
                    f"study {self.path.name!r} was put aside by another process just now; the same command starts anew"
                )
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that is at ``path`` now."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int) -> None:
    """Takes the lock; a moment's patience, as whoever asks ``in_use`` holds it for an instant."""
    for _ in range(10):
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class Home:
    """The home folder: local databases, artifacts, ledgers, checkpoints, exports."""

    path: Path

    def create(self) -> None:
        """Makes the folder and proves that it can be written.

        Raises:
            HomeError: It can't, or the addresses of the databases in it would name other files.
        """
        if odd := _ODD.search(str(self.path.resolve())):
            raise HomeError(f"--home {self.path}: its full path has {odd[0]!r}; valid: one without ? and without %XX")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            try:
                durable.write(probe, bytes(_PROBE_BYTES))
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"--home {self.path} can't be written: {error.strerror or error}") from None

    @property
    def is_one(self) -> bool:
        """Whether a study was ever begun here."""
        return (self.path / "studies").is_dir()

    def study(self, name: str) -> StudyFolder:
        """The files of the study ``name``."""
        return StudyFolder(_no_link("--study", self.path / "studies" / checked_name("--study", name)))

    def studies(self) -> list[str]:
        """Names of the studies that were started here; a folder that no study can have is none."""
        folders = (ledger.parent for ledger in self.path.glob("studies/*/ledger.db"))
        return sorted(it.name for it in folders if _is_name(it.name) and not it.is_symlink())

    @property
    def data(self) -> Path:
        """The decoded training images."""
        return self.path / "data"

    @property
    def exports(self) -> Path:
        """Exported models."""
        return self.path / "exports"

    @property
    def reports(self) -> Path:
        """Reports, one page and one Markdown file for each study."""
        return self.path / "reports"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard reads, a folder for each study."""
        return self.path / "tensorboard"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, where the store is local."""
        return self.path / ARTIFACTS

    @property
    def mlflow_uri(self) -> str:
        """MLflow's store, where none is named."""
        return f"sqlite:///{self.path.resolve() / 'mlflow.db'}"

    @property
    def optuna_uri(self) -> str:
        """Optuna's storage, where none is named."""
        return f"sqlite:///{self.path.resolve() / 'optuna.db'}"
