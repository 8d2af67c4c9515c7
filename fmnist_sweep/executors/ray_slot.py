"""One slot of a node: a Ray actor that runs one job at a time as a local process, and sends back what comes of it.

It holds Ray's resources for one trial. The trial itself is a fresh process forked from a server that has TensorFlow
loaded, as on a single machine, so it can be killed at any time and leaks into no other. Its files are in a folder of
this node's; nobody else needs to see that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fmnist_sweep
from fmnist_sweep import durable
from fmnist_sweep.executors import gpu
from fmnist_sweep.executors.base import Finished, Happening, Reported
from fmnist_sweep.executors.limits import usable_cores
from fmnist_sweep.executors.local import LocalExecutor, call
from fmnist_sweep.executors.ray_data import Raw, Shipment, cache_folder, local, raw
from fmnist_sweep.executors.ray_nodes import Place
from fmnist_sweep.trial import RunTrial, TrialJob

_LOG_BYTES = 64_000
_LISTEN_S = 3600.0
_ALIKE = ("fmnist-sweep", "tensorflow", "keras", "numpy")


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a slot sends.

    Attributes:
        happenings: What happened to the job.
        checkpoint: Its state, where a report says that there is one.
        weights: Those that are kept, once it has finished.
        log: What the worker printed since the last time.
        fetched: Bytes of images that this machine did not have.
    """

    happenings: tuple[Happening, ...] = ()
    checkpoint: Raw | None = None
    weights: Raw | None = None
    log: bytes = b""
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """How a slot is, once it can take jobs: what code it has, and whether it has the GPU that it was given."""

    code: str
    gpu: bool


class Slot:
    """See the module. ``stop`` may be called at any time, the others one after the other.

    Each job has a number, higher than those before it, so that an order that comes late does no harm.

    Args:
        place: What it holds.
        run: What a worker does with a job.
        preload: Modules that the fork server imports once.
        get: Ray's.
    """

    def __init__(self, place: Place, run: RunTrial, preload: tuple[str, ...], get: Callable[[Any], Raw]) -> None:
        _hide_main()
        self._get = get
        self._preload = preload
        self._folder = _own_folder()
        self._log = self._folder / "log"
        self._read = 0
        self._sent = (0, 0)  # mark of the checkpoint that the driver has
        self._turn = threading.Lock()
        self._stopped = self._number = 0
        self._job: TrialJob | None = None
        shares = [gpu.share_of(it, place.sharing) for it in gpu.found()[:1]] if place.gpu else []
        self._has_gpu = bool(shares)
        cores = usable_cores()
        pinned = place.node.alone and len(cores) == place.node.cpus and hasattr(os, "sched_setaffinity")
        if pinned:
            os.sched_setaffinity(0, [cores[place.number]])
        self._executor = LocalExecutor(
            1, log=self._log, run=run, preload=preload, shares=shares, threads=None if pinned else 1
        )

    def ready(self) -> Ready:
        """Returns once the fork server has loaded everything."""
        if self._preload:
            call(os.getpid, log=self._log)
        return Ready(code(), self._has_gpu)

    def begin(self, number: int, job: TrialJob, sent: Shipment, checkpoint: Raw | None) -> Said:
        """Starts a job, from its checkpoint if it has one; ends the job before it, if that still runs."""
        with self._turn:
            self._drop()
            data, fetched = local(job.data, sent, self._get)
            self._number, self._job = number, replace(job, data=data, folder=self._folder / "job")
            if checkpoint is not None:
                durable.write_sealed(self._job.checkpoint, checkpoint.tobytes())
            self._sent = _mark(self._job.checkpoint)
            self._executor.submit(self._job)
            if self._stopped >= number:
                self._executor.kill(job.key)
            return replace(self._hear(), fetched=fetched)

    def listen(self, number: int) -> Said:
        """What happens next to the job."""
        with self._turn:
            return self._hear() if number == self._number else Said()

    def go_on(self, number: int) -> Said:
        """Lets the job train on, and returns what happens next."""
        with self._turn:
            if number != self._number or self._job is None:
                return Said()
            self._executor.proceed(self._job.key)
            return self._hear()

    def stop(self, number: int) -> None:
        """Ends the job of that number, or any before it, at once, even if it is still to begin."""
        self._stopped = max(self._stopped, number)
        job = self._job
        if job is not None and self._number <= number:
            self._executor.kill(job.key)

    def _hear(self) -> Said:
        job = self._job
        if job is None:
            return Said()
        happenings = tuple(self._executor.happenings(_LISTEN_S))
        last = happenings[-1] if happenings else None
        checkpoint, mark = None, _mark(job.checkpoint)
        if isinstance(last, Reported) and mark != self._sent:  # a report that is told again has none of its own
            checkpoint, self._sent = durable.read_sealed(job.checkpoint), mark
        weights = job.weights.read_bytes() if isinstance(last, Finished) and job.weights.exists() else None
        return Said(happenings, raw(checkpoint), raw(weights), self._new_log())

    def _drop(self) -> None:
        """Leaves nothing of the last job."""
        if self._job is not None:
            self._executor.cancel(self._job.key)
            self._job = None
        shutil.rmtree(self._folder / "job", ignore_errors=True)

    def _new_log(self) -> bytes:
        with suppress(FileNotFoundError), self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._read, size - _LOG_BYTES))
            self._read = size
            return file.read()
        return b""


def _mark(file: Path) -> tuple[int, int]:
    """Differs once another file was put in its place; zeros where there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def code() -> str:
    """What must be the same on every node for the same figures: this package's code, and what it trains with."""
    root = Path(fmnist_sweep.__file__).parent
    sum_ = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sum_.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    versions = ", ".join(f"{name} {_version(name)}" for name in _ALIKE)
    return f"Python {sys.version_info[0]}.{sys.version_info[1]}, {versions}, code {sum_.hexdigest()[:12]}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _hide_main() -> None:
    """A forked worker would load the main program once more, which here is Ray's own."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    main.__file__ = None


def _own_folder() -> Path:
    """A new folder for this process, locked while it lives; those of processes that are gone are removed."""
    slots = cache_folder() / "slots"
    slots.mkdir(mode=0o700, exist_ok=True)
    for old in slots.iterdir():
        if _unused(old):
            shutil.rmtree(old, ignore_errors=True)
    mine = slots / f"{os.getpid()}-{secrets.token_hex(4)}"
    mine.mkdir()
    fcntl.flock(os.open(mine / "lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)  # held until the process ends
    return mine


def _unused(folder: Path) -> bool:
    try:
        file = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False  # it is being made
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(file)
