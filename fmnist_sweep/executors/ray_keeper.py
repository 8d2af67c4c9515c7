"""Keeps a local Ray cluster: ``python -m fmnist_sweep.executors.ray_keeper CPUS GPUS FOLDER`` starts one and prints
its address.

It ends when its standard input does, so when the driver that started it ends, however that does. Ray alone leaves
processes behind when a driver is killed; the keeper adopts all that Ray starts, and ends what is left.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_STORE_BYTES = 500_000_000
_STORE_BYTES_PER_CPU = 100_000_000
_PATIENCE_S = 10.0

# Loopback alone, and only for those who have the token; nothing is reported to anybody. A net that is too large is
# ended by the kernel, as with local processes, and not by Ray.
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for "not on loopback alone", on any system
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
}


def keep(cpus: int, gpus: int, folder: str) -> None:
    """Starts the cluster, prints its address, and ends it once nobody holds standard input any more."""
    os.environ.update(ENVIRONMENT)
    for number in (signal.SIGINT, signal.SIGTERM):  # the driver says when to end
        signal.signal(number, signal.SIG_IGN)
    _adopt()
    import ray

    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=_STORE_BYTES + cpus * _STORE_BYTES_PER_CPU,
        _temp_dir=folder,
    )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray has put its own handler there
    print(ray.get_runtime_context().gcs_address, flush=True)
    while sys.stdin.buffer.read(1 << 16):
        pass
    with suppress(Exception):
        ray.shutdown()
    _end_the_rest()
    shutil.rmtree(folder, ignore_errors=True)


def _adopt() -> None:
    """Makes orphans below this process its children, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_the_rest() -> None:
    """Ends all children, and the orphans that become children by that."""
    deadline = time.monotonic() + _PATIENCE_S
    while (children := _children()) and time.monotonic() < deadline:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def _children() -> list[int]:
    """Process numbers of this process's children, where the system tells them."""
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return found


if __name__ == "__main__":
    keep(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
