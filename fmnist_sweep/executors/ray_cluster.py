"""A connection to a Ray cluster: one that runs already, or one of this machine alone that ends with the driver."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_sweep.errors import FatalError, UsageError
from fmnist_sweep.executors.ray_keeper import ENVIRONMENT

_GOODBYE_S = 20.0
_NODE = ". A node of it must run on this machine (ray start --address={} --num-cpus=0)"
# The head forks a process for each client; now and then it dies at birth (ray-project/ray issue 63202), the next lives.
_CLIENT_WAITS_S = (1.0, 3.0, 10.0)


@dataclass(slots=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        ray: The package.
        address: Of the cluster.
        keeper: The process that keeps a local cluster; None for a cluster of somebody else's.
        folder: Of a local cluster's files.
    """

    ray: Any
    address: str
    keeper: subprocess.Popen[bytes] | None = None
    folder: str = ""

    def close(self) -> None:
        """Disconnects, and ends a local cluster with all its processes."""
        self.ray.shutdown()
        if self.keeper is not None:
            _end(self.keeper, self.folder)
            self.keeper = None


def require() -> None:
    """Says at once if Ray is not here.

    Raises:
        UsageError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--executor ray needs the package ray; install it with: pip install 'fmnist-sweep[ray]'")


def connect(address: str) -> Cluster:
    """Connects to a cluster that runs already.

    Args:
        address: As ``10.0.0.7:6379``, where a node of the cluster must run on this machine, or as
            ``ray://10.0.0.7:10001``, a client's, which needs none.

    Raises:
        FatalError: There is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    client = address.startswith("ray://")
    try:
        with _handlers_kept():
            ray._private.worker.print_to_stdstream = _say_nothing
            for wait_s in (*_CLIENT_WAITS_S, None) if client else (None,):
                try:
                    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
                    break
                except ConnectionAbortedError:
                    if wait_s is None:
                        raise
                    _wait(wait_s)
    except Exception as error:
        advice = "" if client else _NODE.format(address)
        raise FatalError(f"no Ray cluster can be used at {address!r}: {first_line(error)}{advice}") from None
    return Cluster(ray, address)


def start(cpus: int, gpus: int = 0) -> Cluster:
    """Starts a cluster of this machine alone, on 127.0.0.1, and connects to it.

    Args:
        cpus: Trials at a time.
        gpus: GPUs that they share.

    Raises:
        FatalError: It does not start.
    """
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray's own would stay behind in a file
    folder = tempfile.mkdtemp(prefix="fmnist-ray-", dir="/tmp")  # Ray's sockets need a short path
    with (Path(folder) / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", __name__.replace("ray_cluster", "ray_keeper"), str(cpus), str(gpus), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the driver
        )
    assert keeper.stdout is not None
    address = keeper.stdout.readline().decode().strip()
    try:
        if not address:
            raise FatalError(f"no Ray cluster starts on this machine: {_last_line(folder)}")
        cluster = connect(address)
    except FatalError:
        _end(keeper, folder)
        raise
    cluster.keeper, cluster.folder = keeper, folder
    return cluster


def open_(address: str, cpus: int, gpus: int) -> Cluster:
    """The cluster at ``address``, or where that is empty one of this machine alone; see ``connect`` and ``start``."""
    require()
    return connect(address) if address else start(cpus, gpus)


def first_line(error: BaseException) -> str:
    """What an error says, in a line for people; of a traceback, what it ends with."""
    first, *more = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join([first, *(more[-1:] if first.endswith(":") else [])])[:300]


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _environment() -> dict[str, str]:
    """The keeper finds this package as this process does."""
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(folder: str) -> str:
    with (Path(folder) / "keeper.log").open(errors="replace") as log:
        return ([line.strip() for line in log if line.strip()] or ["it says nothing"])[-1][:300]


def _end(keeper: subprocess.Popen[bytes], folder: str) -> None:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    try:
        keeper.wait(_GOODBYE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    keeper.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def _say_nothing(*_: object, **__: object) -> None:
    """In place of what prints on standard output, whatever Ray's settings are, that a node has died."""


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; it is the driver's."""
    try:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
