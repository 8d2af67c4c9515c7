"""GPUs: which there are, and which share of one a worker gets.

"A third of a GPU" is only a label unless the memory is capped too: TensorFlow takes all of a GPU's memory at its
first operation. So a worker that shares a GPU gets a limit, and one that has it alone takes memory as it needs it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fmnist_sweep.errors import UsageError

CONTEXT_BYTES = 700_000_000  # what CUDA takes for each process outside of TensorFlow's limit: 651 MB on an H100
RESERVED_BYTES = 600_000_000  # of a GPU's memory, what no process gets: 504 MB on an H100
LEAST_BYTES = 500_000_000
_QUERY = ("--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
_QUERY_S = 20.0
_ASK = "import tensorflow; print(len(tensorflow.config.list_physical_devices('GPU')))"
_ASK_S = 120.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its name for ``CUDA_VISIBLE_DEVICES``, and its memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class GpuShare:
    """What a worker may use: a GPU by its name, and bytes of its memory; 0 for as much as it needs."""

    name: str
    limit: int


@functools.cache
def found() -> tuple[Gpu, ...]:
    """The GPUs that TensorFlow can use here; none without NVIDIA's driver or without the CUDA that TensorFlow wants."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=_QUERY_S, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver that is broken has no GPU
        return ()
    listed = parsed(done.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return listed if listed and _tensorflow_sees_one() else ()


def parsed(text: str, visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs in the lines ``index, uuid, MiB`` that ``visible`` lets a process see, in its order.

    Args:
        text: What ``nvidia-smi`` prints.
        visible: As ``CUDA_VISIBLE_DEVICES``: indices or UUIDs; None for all. What comes after one that does not
            exist is not seen, as CUDA has it.
    """
    known: dict[str, Gpu] = {}
    for line in text.splitlines():
        index, _, rest = (part.strip() for part in line.partition(","))
        uuid, _, memory = (part.strip() for part in rest.partition(","))
        if memory.isdecimal():
            known[index] = known[uuid] = Gpu(index, int(memory) * _MIB)
    if visible is None:
        return tuple(dict.fromkeys(known.values()))
    seen: dict[Gpu, None] = {}
    for name in visible.split(","):
        if name.strip() not in known:
            break
        seen[known[name.strip()]] = None
    return tuple(seen)


def shares(gpus: Sequence[Gpu], workers: int) -> tuple[GpuShare | None, ...]:
    """Each worker's share: the GPUs dealt out in turn, the memory of one split evenly among those that share it.

    Args:
        gpus: See ``found``; with none, nobody has a share.
        workers: Processes at the same time.

    Raises:
        UsageError: The shares are too small for any net.
    """
    if not gpus:
        return (None,) * workers
    found_shares = []
    for worker in range(workers):
        place = worker % len(gpus)
        sharing = len(range(place, workers, len(gpus)))
        found_shares.append(share_of(gpus[place], sharing))
    return tuple(found_shares)


def share_of(gpu: Gpu, sharing: int) -> GpuShare:
    """The share of one of so many workers on a GPU.

    Raises:
        UsageError: It is too small for any net.
    """
    memory = gpu.memory - RESERVED_BYTES
    limit = memory // sharing - CONTEXT_BYTES
    if limit < LEAST_BYTES:
        most = max(1, memory // (CONTEXT_BYTES + LEAST_BYTES))
        raise UsageError(
            f"{sharing} workers on a GPU of {gpu.memory / 1e9:.1f} GB have {limit / 1e9:.1f} GB each; "
            f"valid: --workers up to {most} for each GPU"
        )
    return GpuShare(gpu.name, 0 if sharing == 1 else limit)


def use(share: GpuShare | None) -> None:
    """Keeps this process to its share; to be called before TensorFlow's first operation. None changes nothing."""
    if share is None:
        return
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts, which the shares are from
    os.environ["CUDA_VISIBLE_DEVICES"] = share.name
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    for device in tensorflow.config.list_physical_devices("GPU"):
        if share.limit:
            limit = tensorflow.config.LogicalDeviceConfiguration(memory_limit=share.limit // _MIB)
            tensorflow.config.set_logical_device_configuration(device, [limit])
        else:
            tensorflow.config.experimental.set_memory_growth(device, True)


def keep_off() -> None:
    """Keeps this process off all GPUs; to be called before TensorFlow's first operation.

    For what is not training: TensorFlow would take all of a GPU's memory from those who train.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def _tensorflow_sees_one() -> bool:
    """Whether TensorFlow finds all that it needs for a GPU: asked in a process of its own, as only it knows."""
    try:
        done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=_ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() not in ("", "0")
