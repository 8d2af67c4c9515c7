"""What a container or a cluster's scheduler leaves of the machine, read from control groups of both versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fmnist_sweep.executors import gpu, limits, local
from fmnist_sweep.executors.gpu import GpuShare

ALL = len(limits.usable_cores())
WHOLE = limits.memory_bytes(Path("/none"), Path("/none"))


def machine(folder: Path, groups: str, files: Mapping[str, str]) -> tuple[Path, Path]:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "proc", folder / "groups"


@pytest.mark.parametrize(
    ("groups", "files", "memory"),
    [
        ("0::/\n", {"memory.max": "2000000000\n"}, 2_000_000_000),
        ("0::/\n", {"memory.max": "max\n"}, WHOLE),
        ("0::/job/step\n", {"job/memory.max": "3000000000\n", "job/step/memory.max": "max\n"}, 3_000_000_000),
        ("5:cpu,cpuacct:/a\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "1000000000"}, 1_000_000_000),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, WHOLE),
        ("4:memory:/elsewhere\n", {"memory/memory.limit_in_bytes": "1000000000"}, 1_000_000_000),
    ],
)
def test_memory_is_that_of_the_narrowest_group(
    tmp_path: Path, groups: str, files: Mapping[str, str], memory: int
) -> None:
    assert limits.memory_bytes(*machine(tmp_path, groups, files)) == memory


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, ALL),
        ("0::/\n", {"cpu.max": "99900000 100000\n"}, ALL),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"}, 1),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, ALL),
        ("nonsense\n", {}, ALL),
    ],
)
def test_cores_are_those_that_the_quota_pays_for(
    tmp_path: Path, groups: str, files: Mapping[str, str], cpus: int
) -> None:
    assert limits.cpus(*machine(tmp_path, groups, files)) == cpus


def test_workers_fit_into_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "found", list)
    monkeypatch.setattr(limits, "cpus", lambda: 8)
    monkeypatch.setattr(limits, "memory_bytes", lambda: 4_000_000_000)
    assert local.auto_workers() == 2
    monkeypatch.setattr(limits, "memory_bytes", lambda: 400_000_000_000)
    assert local.auto_workers() == 8


def test_a_worker_is_pinned_to_no_core_where_the_container_has_a_share_of_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "usable_cores", lambda: list(range(64)))
    monkeypatch.setattr(limits, "cpus", lambda: 4)
    assert [(seat.cores, seat.threads) for seat in local._seats((None, None), None)] == [((), 2), ((), 2)]
    monkeypatch.setattr(limits, "cpus", lambda: 64)
    assert [(len(seat.cores), seat.threads) for seat in local._seats((None, None), None)] == [(32, 32), (32, 32)]


@pytest.mark.parametrize(
    ("cpus", "workers", "threads", "at_once"), [(2, 2, 1, 1), (2, 1, 2, 2), (8, 4, 2, 2), (1, 1, 1, 1), (1, 2, 1, 1)]
)
def test_operations_run_at_the_same_time_where_a_worker_has_cores_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpus: int, workers: int, threads: int, at_once: int
) -> None:
    monkeypatch.setattr(limits, "usable_cores", lambda: list(range(cpus)))
    monkeypatch.setattr(limits, "cpus", lambda: cpus)
    seats = local._seats((None,) * workers, None)
    assert {(seat.threads, seat.at_once) for seat in seats} == {(threads, at_once)}
    alone = local._all_of(seats)
    assert (alone.cores, alone.threads, alone.at_once) == (tuple(range(cpus)), threads, 2)
    assert local.LocalExecutor(workers, log=tmp_path / "log").spreads is (workers > 1 and cpus > 1)
    assert not local.LocalExecutor(workers, log=tmp_path / "log", threads=1).spreads
    assert not local.LocalExecutor(workers, log=tmp_path / "log", shares=(GpuShare("0", 1_000),) * workers).spreads
    shared = local._seats((GpuShare("0", 1_000),) * workers, None)
    assert {seat.at_once for seat in shared} == {1}
