"""Workers that run out of memory, halt, or find a damaged checkpoint; and clocks that jump."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fmnist_sweep
from fmnist_sweep import data as datasets
from fmnist_sweep import durable, running
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.data import DataSource
from fmnist_sweep.executors.kernel import Kills
from fmnist_sweep.executors.local import LocalExecutor
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.pasts import Pasts
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialJob, run_trial
from tests import stand_ins
from tests.driver_place import Place

# A driver in a group of its own that may use 400 MB.
LIMITED = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
sys.path.insert(0, sys.argv[2])
from fmnist_sweep.executors.local import LocalExecutor
from tests import stand_ins
from tests.driver_place import Place

place = Place(Path(sys.argv[3]), stand_ins.task())
executor = LocalExecutor(1, log=place.folder.log, run=stand_ins.greedy, preload=("tests.stand_ins",))
print(place.driver(executor).run(3), flush=True)
executor.close()
"""
LIMIT_BYTES = 400_000_000


# Out of memory


@contextmanager
def small_group() -> Iterator[Path]:
    """A control group that may use little memory; skips the test where none can be made."""
    root = Path("/sys/fs/cgroup")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    old = next((line.split(":", 2)[2] for line in lines if ":memory:" in line), None)
    if old is None:
        group, limit, swap = root / f"fmnist-{os.getpid()}", "memory.max", "memory.swap.max"
    else:
        group, limit, swap = root / "memory" / f"fmnist-{os.getpid()}", "memory.limit_in_bytes", ""
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make control groups, as root has ({error})")
    try:
        try:
            (group / limit).write_text(str(LIMIT_BYTES))
        except OSError as error:
            pytest.skip(f"needs control groups that limit memory ({error})")
        if swap and (group / swap).exists():
            (group / swap).write_text("0")
        yield group
    finally:
        stand_ins.wait_for(lambda: not (group / "cgroup.procs").read_text(), "the end of the group's processes")
        group.rmdir()


def test_a_worker_that_the_kernel_ends_for_memory_is_not_tried_again_and_its_net_infeasible(tmp_path: Path) -> None:
    with small_group() as group:
        root = str(Path(__file__).parents[1])
        command = [sys.executable, "-c", LIMITED, str(group), root, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    ledger = Ledger(tmp_path / "study" / "ledger.db")
    try:
        events = ledger.events()
    finally:
        ledger.close()
    assert [event.job for event in events if event.kind == "died"] == []  # no worker was started again for it
    state = StudyState.of(events)
    wide = [job for job in state.trials() if job.arch.dense]
    assert wide
    for job in wide:
        assert job.state == "failed"
        assert job.reason == "memory: the kernel ended the worker, as memory ran out"
        assert Pasts(0.0).of(job).standing == "infeasible"
    assert {job.state for job in state.trials() if not job.arch.dense} <= {"complete", "pruned"}


V1 = "7:memory:/mine\n2:cpu,cpuacct:/mine\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "file", "before", "after"),
    [
        pytest.param(
            "0::/mine/deep\n", "groups/mine/deep/memory.events.local", "oom 2\noom_kill 0\n", "oom_kill 1\n", id="2"
        ),
        pytest.param(
            "0::/mine/deep\n", "groups/mine/deep/memory.events", "oom 2\noom_kill 0\n", "oom_kill 1\n", id="2, old"
        ),
        pytest.param("0::/not/mounted\n", "groups/memory.events", "oom_kill 3\n", "oom_kill 4\n", id="2, a container"),
        pytest.param(V1, "groups/memory/mine/memory.oom_control", "under_oom 0\noom_kill 0\n", "oom_kill 1\n", id="1"),
        pytest.param(V1, "groups/memory/memory.oom_control", "oom_kill 0\n", "oom_kill 1\n", id="1, a container"),
        pytest.param("0::/\n", "proc/vmstat", "pgfault 12\noom_kill 5\n", "oom_kill 6\n", id="the machine"),
    ],
)
def test_each_kill_by_the_kernel_explains_one_death(
    tmp_path: Path, membership: str, file: str, before: str, after: str
) -> None:
    for path, text in (("proc/self/cgroup", membership), (file, before)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    kills = Kills(tmp_path / "proc", tmp_path / "groups")
    started = kills.count()
    assert not kills.explain(started)  # by hand: nothing was counted
    (tmp_path / file).write_text(after)
    assert kills.count() == started + 1
    assert kills.explain(started)
    assert not kills.explain(started)  # its neighbour, by hand
    assert not kills.explain(kills.count())  # a later worker has nothing to do with it


def test_where_the_kernel_does_not_count_no_death_is_put_down_to_it(tmp_path: Path) -> None:
    kills = Kills(tmp_path / "none", tmp_path / "none")
    assert kills.count() == 0
    assert not kills.explain(0)


# Halted


def test_a_worker_that_is_halted_is_ended_and_its_trial_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_FIRST_REPORT_S", 60.0)
    place = Place(tmp_path, stand_ins.task())
    executor = LocalExecutor(1, log=place.folder.log, run=stand_ins.stopping_itself, preload=())
    try:
        assert place.driver(executor).run(1) == "done"
    finally:
        executor.close()
    (trial,) = place.state.trials()
    (died,) = [event for event in place.ledger.events() if event.kind == "died"]
    assert died.body["message"] == "the worker gave no sign of life"
    assert (trial.number, trial.state) == (0, "complete")
    (tmp_path / "other").mkdir()
    whole = Place(tmp_path / "other", stand_ins.task())
    whole.drive(1)
    assert trial.reports == whole.state.trials()[0].reports


# A damaged checkpoint


@pytest.fixture(scope="module")
def half_trained(
    source: DataSource, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialJob, bytes, Report, object]:
    """A real job, its checkpoint after one of two epochs and the report there, and how it ends undisturbed."""
    folder = tmp_path_factory.mktemp("half")
    prepared = datasets.prepare(source, folder / "data", train_images=320)
    arch = ArchSpec((28, 28, 1), 10, blocks=(BlockSpec(8),))
    job = TrialJob("trial-0000", arch, TrainSpec(epochs=2), (1.0, 2.0), prepared, folder / "job")
    checkpoints: list[tuple[bytes, Report]] = []
    result = run_trial(job, lambda report: checkpoints.append((job.checkpoint.read_bytes(), report)))
    return job, *checkpoints[0], figures(result, job)


def figures(result: object, job: TrialJob) -> object:
    return getattr(result, "weights_sha256", ""), getattr(result, "best_val_accuracy", 0), durable.sha256(job.weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("harm", "good"),
    [
        pytest.param(lambda whole: whole, True, id="none"),
        pytest.param(lambda whole: whole[: len(whole) // 2], False, id="cut off"),
        pytest.param(lambda _: b"", False, id="empty"),
        pytest.param(lambda whole: flipped(whole), False, id="a bit"),
    ],
)
def test_a_damaged_checkpoint_is_never_read_as_good_and_the_training_ends_as_if_undisturbed(
    half_trained: tuple[TrialJob, bytes, Report, object], harm: Callable[[bytes], bytes], good: bool
) -> None:
    job, checkpoint, first, expected = half_trained
    job.weights.unlink()
    job.checkpoint.write_bytes(harm(checkpoint))
    heard: list[Report] = []
    assert figures(run_trial(job, heard.append), job) == expected
    assert [report.place for report in heard] == [0, 1]
    assert (heard[0] == first) == good  # what was trained again took another time


def flipped(content: bytes) -> bytes:
    altered = bytearray(content)
    altered[len(altered) // 2] ^= 0x10
    return bytes(altered)


# Clocks

WALL_CLOCK = {  # modules that may ask what time it is: to write it down, or to compare it with a file's
    "ledger": "times of events, carried on by the monotonic clock",
    "study": "when a study was begun",
    "session": "when a run began",
    "doctor.files": "ages of files",
    "views.optuna_claim": "since when a driver holds a study, for people",
}


def test_no_deadline_depends_on_a_clock_that_can_jump() -> None:
    root = Path(fmnist_sweep.__file__).parent
    asking = set()
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Attribute) and (
                ast.unparse(node) in ("time.time", "time.time_ns") or node.attr in ("now", "utcnow", "today")
            )
            hidden = isinstance(node, ast.ImportFrom) and node.module == "time"
            if asks or hidden:
                asking.add(name)
    assert asking <= set(WALL_CLOCK)
