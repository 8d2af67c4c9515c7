"""GPUs are dealt out by pure functions; without one nothing changes. What CUDA does with a share is not tested here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep.errors import UsageError
from fmnist_sweep.executors import gpu
from fmnist_sweep.executors.gpu import CONTEXT_BYTES, LEAST_BYTES, RESERVED_BYTES, Gpu, GpuShare

GB = 10**9
LISTED = "0, GPU-aaaa, 81559\n1, GPU-bbbb, 40960\n2, GPU-cccc, [N/A]\n"
FIRST, SECOND = Gpu("0", 81559 << 20), Gpu("1", 40960 << 20)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, (FIRST, SECOND)),
        ("", ()),
        ("1", (SECOND,)),
        ("1,0", (SECOND, FIRST)),
        ("GPU-bbbb", (SECOND,)),
        ("0,7,1", (FIRST,)),
        ("-1", ()),
    ],
)
def test_what_the_driver_lists_is_what_a_process_may_see(visible: str | None, seen: tuple[Gpu, ...]) -> None:
    assert gpu.parsed(LISTED, visible) == seen


def test_nonsense_has_no_gpu() -> None:
    assert gpu.parsed("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", None) == ()


@given(st.lists(st.integers(8 * GB, 200 * GB), min_size=1, max_size=8), st.integers(1, 32))
def test_every_worker_has_a_gpu_and_none_is_promised_twice(sizes: list[int], workers: int) -> None:
    gpus = [Gpu(str(place), size) for place, size in enumerate(sizes)]
    try:
        shares = gpu.shares(gpus, workers)
    except UsageError:
        most = -(-workers // len(gpus))
        assert any((it.memory - RESERVED_BYTES) // most - CONTEXT_BYTES < LEAST_BYTES for it in gpus)
        return
    held = [share for share in shares if share is not None]
    assert len(held) == workers
    for one in gpus:
        here = [share for share in held if share.name == one.name]
        assert len(here) in (workers // len(gpus), -(-workers // len(gpus)))
        if len(here) == 1:
            assert here[0].limit == 0
        elif here:
            assert all(share.limit >= LEAST_BYTES for share in here)
            assert sum(share.limit + CONTEXT_BYTES for share in here) <= one.memory - RESERVED_BYTES


def test_too_many_workers_on_a_gpu_are_refused_with_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"9 workers on a GPU of 8\.0 GB.*--workers up to 6 for each GPU"):
        gpu.shares([Gpu("0", 8 * GB)], 9)
    assert len(gpu.shares([Gpu("0", 8 * GB)], 6)) == 6


def test_four_workers_share_what_an_h100_really_has() -> None:
    most_in_use = 81_078 << 20  # of its 81,559 MiB, as was measured; TensorFlow's limit and 621 MiB for each process
    held = [share.limit + (621 << 20) for share in gpu.shares([FIRST], 4) if share]
    assert len(held) == 4
    assert sum(held) <= most_in_use


def test_without_a_gpu_nobody_has_a_share_and_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "as it was")
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())  # any use of it would raise
    assert gpu.shares((), 3) == (None, None, None)
    gpu.use(None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "as it was"


class TensorFlow:
    """Stands for TensorFlow with one GPU, which no test machine has; notes what it is asked for."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.grows: list[bool] = []
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: [kind],
            LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
            set_logical_device_configuration=lambda _, limits: self.limits.extend(limits),
            experimental=SimpleNamespace(set_memory_growth=lambda _, grows: self.grows.append(grows)),
        )


@pytest.mark.parametrize(("limit", "limits", "grows"), [(0, [], [True]), (3 << 30, [3072], [])])
def test_a_share_is_a_limit_and_a_whole_gpu_grows(
    monkeypatch: pytest.MonkeyPatch, limit: int, limits: list[int], grows: list[bool]
) -> None:
    fake = TensorFlow()
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    gpu.use(GpuShare("1", limit))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert (fake.limits, fake.grows) == (limits, grows)


@pytest.fixture
def afresh() -> Iterator[None]:
    """What was found before is forgotten, and what is found in the test too."""
    gpu.found.cache_clear()
    yield
    gpu.found.cache_clear()


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize(
    ("prints", "code", "cuda", "seen"), [(LISTED, 0, True, 2), (LISTED, 0, False, 0), ("", 9, True, 0)]
)
def test_gpus_are_found_through_the_drivers_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, code: int, cuda: bool, seen: int
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}END\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu, "_tensorflow_sees_one", lambda: cuda)
    assert len(gpu.found()) == seen


@pytest.mark.parametrize(
    ("prints", "sees"), [("print(1)", True), ("print(0)", False), ("raise ImportError", False), ("", False)]
)
def test_tensorflow_itself_is_asked(monkeypatch: pytest.MonkeyPatch, prints: str, sees: bool) -> None:
    monkeypatch.setattr(gpu, "_ASK", prints)
    assert gpu._tensorflow_sees_one() is sees


@pytest.mark.usefixtures("afresh")
def test_a_machine_without_the_program_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.found() == ()
