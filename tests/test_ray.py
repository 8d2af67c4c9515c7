"""What a Ray cluster promises beyond the contract: nodes that die and join, files sent once, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nodes import Nodes
from fmnist_sweep import durable
from fmnist_sweep.driver import Driver
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors import Died, Finished, Happening, Reported, Started
from fmnist_sweep.executors import ray as ray_executor
from fmnist_sweep.executors.ray import RayExecutor
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.proposers import make
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, ReportTo, RunTrial, TrialJob, TrialResult
from tests import stand_ins
from tests.conftest import Cli
from tests.stand_ins import job, result_of, wait_for
from tests.test_executors import alive, heard, pid_of

WORDS = ("run", "--sweep", "smoke", "--train-images", "2000", "--no-lab", "--trials", "3", "--executor", "ray")


Make = Callable[[RunTrial], RayExecutor]


def hanging_when_new(mine: TrialJob, report: ReportTo) -> TrialResult:
    """Gives no sign of life after the first report, unless it goes on from a checkpoint."""
    new = durable.read_sealed(mine.checkpoint) is None
    return (stand_ins.hanging if new else stand_ins.quick)(mine, report)


def unhurried(mine: TrialJob, report: ReportTo) -> TrialResult:
    """As ``quick``, a report every half second."""

    def slow(said: Report) -> None:
        time.sleep(0.5)
        report(said)

    return stand_ins.quick(mine, slow)


# --- a cluster


@pytest.fixture
def executor_of(ray_nodes: Nodes, tmp_path: Path) -> Iterator[Make]:
    made: list[RayExecutor] = []

    def new(run: RunTrial) -> RayExecutor:
        made.append(RayExecutor(ray_nodes.connection, log=tmp_path / "workers.log", run=run, preload=()))
        return made[-1]

    yield new
    for executor in made:
        executor.close()


@pytest.fixture
def second(ray_nodes: Nodes) -> Iterator[Any]:
    node = ray_nodes.join()
    yield node
    ray_nodes.kill(node)


def until(executor: RayExecutor, slots: int) -> None:
    deadline = time.monotonic() + stand_ins.PATIENCE_S
    while executor.slots != slots:
        assert time.monotonic() < deadline, f"{executor.slots} slots, not {slots}"
        assert executor.happenings(0.2) == []


@pytest.mark.slow
def test_a_node_that_joins_is_used_and_has_the_images_once(executor_of: Make, ray_nodes: Nodes, tmp_path: Path) -> None:
    executor = executor_of(stand_ins.quick)
    assert executor.slots == 1
    node = ray_nodes.join()
    until(executor, 2)
    found: list[Happening] = []
    for turn in range(3):
        pair = [job(tmp_path, f"job-{turn}-{side}") for side in range(2)]
        for mine in pair:
            executor.submit(mine)
        while sum(isinstance(it, Finished) for it in found) < 2 * (turn + 1):
            found += heard(executor, Finished, proceed=True)
    data = pair[0].data
    size = data.images.stat().st_size + data.labels.stat().st_size
    assert set(executor.fetched.values()) == {size}  # the first node may have them from an earlier test
    assert durable.sha256(pair[0].weights) == result_of(pair[0]).weights_sha256
    ray_nodes.kill(node)
    until(executor, 1)


@pytest.mark.slow
def test_the_job_of_a_node_that_dies_goes_on_elsewhere_from_its_checkpoint(
    executor_of: Make, ray_nodes: Nodes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    executor = executor_of(hanging_when_new)
    mine = job(tmp_path)
    executor.submit(job(tmp_path, "keeps-the-first-node-busy"))
    heard(executor, Reported)
    node = ray_nodes.join()
    until(executor, 2)
    executor.submit(mine)
    worker = pid_of(heard(executor, Reported))
    assert durable.read_sealed(mine.checkpoint) == b"1"
    executor.proceed(mine.key)
    ray_nodes.kill(node)
    (died,) = heard(executor, Died)
    assert isinstance(died, Died)
    assert (died.key, died.lost) == (mine.key, True)
    wait_for(lambda: not alive(worker), "the end of the dead node's worker")
    assert "raylet" not in "".join(capfd.readouterr()).lower()
    executor.cancel("keeps-the-first-node-busy")
    executor.submit(mine)
    started, *reported, finished = heard(executor, Finished, proceed=True)
    assert isinstance(started, Started)
    assert [it.report.place for it in reported if isinstance(it, Reported)] == [0, 1, 2, 3]
    assert finished == Finished(mine.key, result_of(mine))


@pytest.mark.slow
def test_a_worker_that_is_killed_and_one_that_hangs(executor_of: Make, tmp_path: Path) -> None:
    executor, mine = executor_of(stand_ins.hanging), job(tmp_path)
    executor.submit(mine)
    os.kill(pid_of(heard(executor, Reported)), signal.SIGKILL)
    executor.proceed(mine.key)
    assert heard(executor, Died)[-1] == Died(mine.key, "the worker was ended by SIGKILL")
    executor.submit(mine)
    pid = pid_of(heard(executor, Reported, proceed=True))
    os.kill(pid, signal.SIGSTOP)
    executor.cancel(mine.key)
    wait_for(lambda: not alive(pid), "the end of a worker that hangs")
    assert executor.happenings(0.1) == []


@pytest.mark.slow
def test_a_slot_that_is_killed_is_replaced_and_takes_its_worker_along(executor_of: Make, tmp_path: Path) -> None:
    executor, mine = executor_of(hanging_when_new), job(tmp_path)
    executor.submit(mine)
    worker = pid_of(heard(executor, Reported, proceed=True))
    server = parent_of(worker)
    os.kill(parent_of(server), signal.SIGKILL)
    (died,) = heard(executor, Died)
    assert isinstance(died, Died)
    assert died.lost
    wait_for(lambda: not alive(worker), "the end of the worker")
    executor.submit(mine)
    assert heard(executor, Finished, proceed=True)[-1] == Finished(mine.key, result_of(mine))


@pytest.mark.slow
def test_a_node_with_other_code_is_refused(executor_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "code", lambda: "code of yesterday")
    with pytest.raises(FatalError, match=r"^node .* has Python 3.*; this driver has code of yesterday$"):
        executor_of(stand_ins.quick)


@pytest.mark.slow
def test_a_sweep_loses_nothing_when_a_node_dies_and_another_joins(
    executor_of: Make, ray_nodes: Nodes, second: Any, tmp_path: Path
) -> None:
    folder, task = StudyFolder(tmp_path / "study"), stand_ins.task("random")
    folder.path.mkdir()
    ledger = Ledger(folder.ledger)
    ledger.append("study", config=task.config.model_dump(mode="json"))
    executor = executor_of(unhurried)
    until(executor, 2)
    joined: list[Any] = []

    def watch(state: StudyState, event: Event | None) -> None:
        running = state.trials("running")
        if event is None and len(running) == 2 and all(0 < len(it.reports) < 3 for it in running) and not joined:
            ray_nodes.kill(second)
            joined.append(ray_nodes.join())

    driver = Driver(
        ledger=ledger,
        task=task,
        data=stand_ins.prepared(tmp_path / "data"),
        folder=folder,
        proposer=make(task),
        executor=executor,
        watch=watch,
    )
    assert driver.run(5) == "done"
    ray_nodes.kill(joined[0])
    state, events = StudyState.of(ledger.events()), ledger.events()
    ledger.close()
    assert [trial.number for trial in state.trials()] == [0, 1, 2, 3, 4]
    assert all(trial.state in ("complete", "pruned") for trial in state.trials())
    assert any("was lost" in event.body["message"] for event in events if event.kind == "died")
    for trial in state.trials():
        curve = stand_ins.reports_of(trial.arch, trial.train, trial.report_at)
        assert list(trial.reports) == curve[: len(trial.reports)]
        if trial.state == "complete":
            assert trial.result is not None
            assert durable.sha256(folder.job(trial.key) / "weights.npz") == trial.result.weights_sha256


# --- the command line, and what is left behind


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def below(pid: int) -> set[int]:
    """A process's children, their children, and so on."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, file.read_text().split()):
                found |= {child} | below(child)
    return found


def listening(pids: set[int]) -> set[str]:
    """Addresses, in hexadecimal, at which one of the processes listens for TCP connections."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(str(link.readlink()))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].partition(":")[0])
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.slow
def test_a_killed_driver_leaves_nothing_of_its_cluster_and_the_next_goes_on(real_cli: Cli) -> None:
    ledger = real_cli.folder / "fmnist_runs" / "studies" / "smoke" / "ledger.db"
    child = real_cli.start(*WORDS)
    wait_for(lambda: child.poll() is not None or reports_in(ledger), "the first report")
    assert child.poll() is None, child.communicate()[1]
    cluster = below(child.pid)
    names = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in cluster if alive(pid)}
    assert any("raylet" in name for name in names.values())
    (folder,) = {name.split()[-1] for name in names.values() if "ray_keeper" in name}
    assert listening({*cluster, child.pid})
    assert listening({*cluster, child.pid}) <= LOOPBACK
    child.kill()
    child.communicate()
    wait_for(lambda: not any(alive(pid) for pid in cluster), "the end of the cluster")
    assert not Path(folder).exists()
    done = real_cli.run(*WORDS, "--json")
    assert done.returncode == 0, done.stderr
    assert "ray" not in done.stderr.lower().replace("gray", "")
    found = json.loads(done.stdout)
    assert sum(found["trials"][state] for state in ("complete", "pruned", "failed")) == 3
    assert found["trials"]["failed"] == 0


def reports_in(ledger: Path) -> bool:
    if not ledger.exists():
        return False
    opened = Ledger(ledger)
    try:
        return any(event.kind == "report" for event in opened.events())
    finally:
        opened.close()
