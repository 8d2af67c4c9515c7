"""One contract for every executor, and what local processes promise beyond it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from benchmarks.nodes import Nodes
from fmnist_sweep import data as datasets
from fmnist_sweep import durable
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.data import DataSource
from fmnist_sweep.executors import Died, Executor, Failed, Finished, Happening, Reported, Started, limits
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.executors.limits import usable_cores
from fmnist_sweep.executors.local import LocalExecutor, call
from fmnist_sweep.executors.ray import RayExecutor
from fmnist_sweep.trial import RunTrial, TrialJob
from tests import stand_ins
from tests.stand_ins import job, result_of, wait_for

Make = Callable[[RunTrial], Executor]

DRIVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.stand_ins import hanging, job
from fmnist_sweep.executors import Started
from fmnist_sweep.executors.local import LocalExecutor

executor = LocalExecutor(1, log=Path(sys.argv[2]) / "log", run=hanging, preload=())
executor.submit(job(Path(sys.argv[2])))
while True:
    for happening in executor.happenings(1.0):
        if isinstance(happening, Started):
            print(happening.worker.split()[1], flush=True)
"""

SLOW_TO_LOAD = """
import os, time
from pathlib import Path

with Path(__file__).with_name("loading").open("a") as file:
    print(os.getpid(), file=file)
while not Path(__file__).with_name("signalled").exists():
    time.sleep(0.01)
time.sleep(0.1)  # for the signal to come
"""

CALLER = """
import os, signal, sys
from pathlib import Path
from fmnist_sweep.executors import local

signal.signal(signal.SIGINT, lambda *_: None)
local.PRELOAD = ("slow_to_load",)
if sys.argv[2] == "first":
    local.warm_up()
local.call(os.getpid, log=Path(sys.argv[1]) / "log")
"""


def heard(executor: Executor, last: type[Happening], proceed: bool = False) -> list[Happening]:
    """All that happens up to the first ``last``; what reports before is told to go on if ``proceed``."""
    found: list[Happening] = []
    deadline = time.monotonic() + stand_ins.PATIENCE_S
    while time.monotonic() < deadline:
        for happening in executor.happenings(1.0):
            found.append(happening)
            if proceed and isinstance(happening, Reported):
                executor.proceed(happening.key)
        if any(isinstance(happening, last) for happening in found):
            return found
    raise AssertionError(f"no {last.__name__} came, but {found}")


def pid_of(happenings: list[Happening]) -> int:
    return next(int(it.worker.split()[1]) for it in happenings if isinstance(it, Started))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def make_local(tmp_path: Path) -> Iterator[Make]:
    yield from closed_after(lambda run: LocalExecutor(2, log=tmp_path / "workers.log", run=run, preload=()))


@pytest.fixture
def make_ray(ray_nodes: Nodes, tmp_path: Path) -> Iterator[Make]:
    log = tmp_path / "workers.log"
    yield from closed_after(lambda run: RayExecutor(ray_nodes.connection, log=log, run=run, preload=()))


@pytest.fixture
def make_inline() -> Iterator[Make]:
    yield from closed_after(InlineExecutor)


def closed_after(make: Make) -> Iterator[Make]:
    made: list[Executor] = []

    def keep(run: RunTrial) -> Executor:
        made.append(make(run))
        return made[-1]

    yield keep
    for executor in made:
        executor.close()


@pytest.fixture(params=["make_inline", "make_local", pytest.param("make_ray", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.getfixturevalue(request.param)
    return made


class TestExecutor:
    def test_a_job_is_told_of_in_order(self, make: Make, tmp_path: Path) -> None:
        executor, mine = make(stand_ins.quick), job(tmp_path)
        executor.submit(mine)
        started, *reported, finished = heard(executor, Finished, proceed=True)
        assert isinstance(started, Started)
        curve = stand_ins.reports_of(mine.arch, mine.train, mine.report_at)
        assert reported == [Reported(mine.key, report) for report in curve]
        assert finished == Finished(mine.key, result_of(mine))
        assert durable.sha256(mine.weights) == result_of(mine).weights_sha256
        assert executor.happenings(0.1) == []

    def test_a_worker_that_reported_waits(self, make: Make, tmp_path: Path) -> None:
        executor, mine = make(stand_ins.quick), job(tmp_path)
        executor.submit(mine)
        for passed in range(1, len(mine.report_at) + 1):
            heard(executor, Reported)
            assert executor.happenings(0.3) == []
            assert durable.read_sealed(mine.checkpoint) == str(passed).encode()
            assert not mine.weights.exists()
            executor.proceed(mine.key)
        heard(executor, Finished)

    def test_a_cancelled_job_is_silent_and_goes_on_from_its_checkpoint(self, make: Make, tmp_path: Path) -> None:
        executor, mine = make(stand_ins.quick), job(tmp_path)
        executor.submit(mine)
        heard(executor, Reported)
        executor.cancel(mine.key)
        assert executor.happenings(0.3) == []
        executor.submit(mine)
        _, *reported, _ = heard(executor, Finished, proceed=True)
        assert [it.report.place for it in reported if isinstance(it, Reported)] == [
            0,
            1,
            2,
            3,
        ]  # the first again, as it may not have been heard

    def test_nothing_is_heard_of_a_cancelled_job_that_runs_again(self, make: Make, tmp_path: Path) -> None:
        executor, mine = make(stand_ins.quick), job(tmp_path)
        executor.submit(mine)
        time.sleep(0.5)  # its report may be on the way, and nobody has listened yet
        executor.cancel(mine.key)
        executor.submit(mine)
        found = heard(executor, Finished, proceed=True)
        assert [type(it) for it in found].count(Started) == 1
        assert [it.report.place for it in found if isinstance(it, Reported)] == [
            0,
            1,
            2,
            3,
        ]  # the first again, as it may not have been heard

    @pytest.mark.parametrize(
        ("run", "why", "message"),
        [
            (stand_ins.diverging, "diverged", "the loss became nan in epoch 1"),
            (stand_ins.memory, "memory", "MemoryError: no room for 9 TiB"),
            (stand_ins.raising, "error", "ValueError: no such layer"),
        ],
    )
    def test_what_a_job_raises_is_told_in_a_line(
        self, make: Make, tmp_path: Path, run: RunTrial, why: str, message: str
    ) -> None:
        executor, mine = make(run), job(tmp_path)
        for _ in range(2):
            executor.submit(mine)
            failed = heard(executor, Failed, proceed=True)[-1]
            assert isinstance(failed, Failed)
            assert (failed.key, failed.why, failed.message) == (mine.key, why, message)
            mine.checkpoint.unlink(missing_ok=True)

    def test_close_ends_everything(self, make: Make, tmp_path: Path) -> None:
        executor = make(stand_ins.quick)
        keys = [f"closed-{slot}" for slot in range(executor.slots)]
        started: list[Started] = []
        for key in keys:
            executor.submit(job(tmp_path, key))
            started += [it for it in heard(executor, Reported) if isinstance(it, Started)]
        executor.close()
        assert executor.happenings(0.1) == []
        assert not {thread.name for thread in threading.enumerate()} & set(keys)
        for worker in started:
            assert worker.worker == "this process" or not alive(pid_of([worker]))

    def test_there_must_be_a_free_slot_and_no_job_of_that_key(self, make: Make, tmp_path: Path) -> None:
        executor = make(stand_ins.quick)
        executor.submit(job(tmp_path, "job-0"))
        with pytest.raises(ValueError, match="job-0"):
            executor.submit(job(tmp_path, "job-0"))
        for slot in range(1, executor.slots):
            executor.submit(job(tmp_path, f"job-{slot}"))
        with pytest.raises(ValueError, match="more"):
            executor.submit(job(tmp_path, "more"))

    def test_jobs_are_independent(self, make: Make, tmp_path: Path) -> None:
        executor = make(stand_ins.quick)
        jobs = {f"job-{filters}": job(tmp_path, f"job-{filters}", filters=filters) for filters in range(8, 12)}
        waiting, running, results = list(jobs), set[str](), dict[str, Finished]()
        while len(results) < len(jobs):
            while waiting and len(running) < executor.slots:
                running.add(waiting[0])
                executor.submit(jobs[waiting.pop(0)])
            finished = [it for it in heard(executor, Finished, proceed=True) if isinstance(it, Finished)]
            results |= {it.key: it for it in finished}
            running -= results.keys()
        assert results == {key: Finished(key, result_of(mine)) for key, mine in jobs.items()}
        assert len({it.result.best_val_accuracy for it in results.values()}) == len(jobs)

    def test_telling_a_job_that_is_gone_is_no_error(self, make: Make) -> None:
        executor = make(stand_ins.quick)
        executor.proceed("none")
        executor.cancel("none")
        assert executor.happenings(0.1) == []


# Local processes


@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_a_net_alone_comes_to_the_same_figures(
    make_local: Make, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training_stand_in import noting_threads

    monkeypatch.setattr(limits, "cpus", lambda: 2)
    monkeypatch.setattr(limits, "usable_cores", lambda: usable_cores()[:2])
    data = datasets.prepare(source, tmp_path / "data", train_images=1_600)
    blocks = (BlockSpec(16, dropout=0.25), BlockSpec(32))
    arch = ArchSpec((28, 28, 1), 10, blocks, batch_norm="after_activation", dense=(64,), dense_dropout=0.25)
    found, had = [], []
    for alone in (False, True):
        mine = TrialJob("same", arch, TrainSpec(epochs=2, seed=7), (0.5, 1.0, 2.0), data, tmp_path / str(alone))
        executor = make_local(noting_threads)
        executor.submit(mine, alone)
        *_, finished = heard(executor, Finished, proceed=True)
        assert isinstance(finished, Finished)
        found.append(finished.result)
        had.append(json.loads((mine.folder / "threads").read_text()))
        executor.close()
    assert had == [[1, 1], [1, 2]]
    one, other = found
    assert one.weights_sha256 == other.weights_sha256
    assert one.best_val_accuracy == other.best_val_accuracy


@pytest.mark.parametrize(
    ("number", "called"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM"), (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}")],
)
def test_a_killed_worker_is_told_of(make_local: Make, tmp_path: Path, number: int, called: str) -> None:
    executor, mine = make_local(stand_ins.hanging), job(tmp_path)
    executor.submit(mine)
    os.kill(pid_of(heard(executor, Started)), number)
    assert heard(executor, Died)[-1] == Died(mine.key, f"the worker was ended by {called}")


def test_a_job_whose_worker_died_goes_on_from_its_checkpoint(make_local: Make, tmp_path: Path) -> None:
    executor, mine = make_local(stand_ins.killing_itself), job(tmp_path)
    executor.submit(mine)
    assert "SIGKILL" in str(heard(executor, Died, proceed=True)[-1])
    executor.submit(mine)
    *_, finished = found = heard(executor, Finished, proceed=True)
    assert finished == Finished(mine.key, result_of(mine))
    assert [it.report.place for it in found if isinstance(it, Reported)] == [
        0,
        1,
        2,
        3,
    ]  # the first again, as it may not have been heard


def test_a_worker_that_hangs_can_be_cancelled(make_local: Make, tmp_path: Path) -> None:
    executor, mine = make_local(stand_ins.hanging), job(tmp_path)
    executor.submit(mine)
    pid = pid_of(heard(executor, Reported, proceed=True))
    os.kill(pid, signal.SIGSTOP)
    executor.cancel(mine.key)
    assert not alive(pid)


def test_ctrl_c_is_left_to_the_driver(make_local: Make, tmp_path: Path) -> None:
    executor, mine = make_local(stand_ins.quick), job(tmp_path)
    executor.submit(mine)
    os.kill(pid_of(heard(executor, Reported)), signal.SIGINT)
    executor.proceed(mine.key)
    assert heard(executor, Finished, proceed=True)[-1] == Finished(mine.key, result_of(mine))


@pytest.mark.parametrize("started", ["first", "by the call"])
def test_ctrl_c_while_the_fork_server_loads_is_left_to_the_driver(tmp_path: Path, started: str) -> None:
    (tmp_path / "slow_to_load.py").write_text(SLOW_TO_LOAD)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path), started],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as caller:
        loading = tmp_path / "loading"
        wait_for(lambda: loading.exists() and loading.read_text().endswith("\n"), "the fork server")
        os.killpg(caller.pid, signal.SIGINT)
        (tmp_path / "signalled").touch()
        assert caller.stderr is not None
        assert caller.stderr.read() == ""
    assert caller.returncode == 0
    assert len(loading.read_text().split()) == 1  # the first server went on


@pytest.mark.parametrize(
    "halted", [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux sees to it"))]
)
def test_a_worker_dies_with_its_driver(tmp_path: Path, halted: bool) -> None:
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parents[1]), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        assert alive(pid)
        if halted:
            os.kill(pid, signal.SIGSTOP)
        driver.kill()
    wait_for(lambda: not alive(pid), "the worker's end")


@pytest.mark.skipif(not 2 <= len(usable_cores()) == limits.cpus(), reason="needs two cores of its own")
def test_each_worker_has_cores_of_its_own(make_local: Make, tmp_path: Path) -> None:
    executor = make_local(stand_ins.noting_cores)
    jobs = [job(tmp_path, f"job-{slot}") for slot in range(2)]
    for mine in jobs:
        executor.submit(mine)
    for mine in jobs:
        wait_for((mine.folder / "cores").exists, "the cores")
    one, other = ({int(core) for core in (mine.folder / "cores").read_text().split()} for mine in jobs)
    assert one
    assert other
    assert not one & other
    assert one | other <= set(usable_cores())
    for mine in jobs:
        executor.cancel(mine.key)
    assert executor.spreads
    executor.submit(last := job(tmp_path, "last"), alone=True)
    wait_for((last.folder / "cores").exists, "the cores")
    assert {int(core) for core in (last.folder / "cores").read_text().split()} == one | other


def test_a_fork_server_that_is_killed_while_it_starts_a_worker_is_replaced(make_local: Make, tmp_path: Path) -> None:
    executor = make_local(stand_ins.quick)
    one, other = job(tmp_path, "one"), job(tmp_path, "other")
    executor.submit(one)
    heard(executor, Finished, proceed=True)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGSTOP)
    submitting = threading.Thread(target=executor.submit, args=(other,))
    submitting.start()
    submitting.join(0.3)
    assert submitting.is_alive()  # it waits for the server's answer
    os.kill(server, signal.SIGKILL)
    submitting.join()
    assert heard(executor, Finished, proceed=True)[-1] == Finished(other.key, result_of(other))


def test_a_call_whose_worker_is_killed_is_made_again(tmp_path: Path) -> None:
    assert call(stand_ins.dies_until, tmp_path / "tries", 2, log=tmp_path / "log") == 3


def test_a_call_whose_worker_dies_every_time_says_how(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended by SIGKILL, 3 times"):
        call(stand_ins.dies_until, tmp_path / "tries", 3, log=tmp_path / "log")


def test_what_is_called_is_off_the_gpus_unless_it_trains(tmp_path: Path) -> None:
    assert call(os.getenv, "CUDA_VISIBLE_DEVICES", log=tmp_path / "log") == "-1"
    assert call(os.getenv, "CUDA_VISIBLE_DEVICES", log=tmp_path / "log", on_gpu=True) != "-1"
