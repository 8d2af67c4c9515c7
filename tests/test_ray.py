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

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.nodes import Nodes
from fmnist_sweep import durable
from fmnist_sweep.driver import Driver
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors import Died, Finished, Happening, Reported, Started, ray_data, ray_nodes
from fmnist_sweep.executors import ray as ray_executor
from fmnist_sweep.executors.local import WORKER_BYTES
from fmnist_sweep.executors.ray import RayExecutor
from fmnist_sweep.executors.ray_data import Shipment
from fmnist_sweep.executors.ray_nodes import Node, Place
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


# --- slots, as pure functions

nodes_drawn = st.lists(
    st.builds(
        Node,
        id=st.uuids().map(str),
        name=st.just("10.0.0.1"),
        cpus=st.integers(0, 16),
        gpus=st.integers(0, 4),
        memory=st.integers(0, 64).map(lambda gb: gb * 1e9),
        alone=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda node: node.id,
)


@given(nodes_drawn, st.integers(0, 40), st.booleans())
@example([Node("1", "10.0.0.1", 15, 3, 0.0, False)], 15, False)  # fifteen fifths, whose sum as floats is above 3
def test_no_node_is_asked_for_more_than_it_has(nodes: list[Node], workers: int, without_gpu: bool) -> None:
    refused = {node.id for node in nodes} if without_gpu else set()
    found = ray_nodes.places(nodes, workers, refused)
    assert len({place.key for place in found}) == len(found)
    assert len(found) <= workers or not workers
    for node in nodes:
        here = [place for place in found if place.node == node]
        assert [place.number for place in here] == list(range(len(here)))
        assert len(here) <= node.cpus
        units = [place.gpu * 10_000 for place in here]  # Ray reckons in whole ten-thousandths
        assert units == pytest.approx([round(unit) for unit in units], abs=1e-6)
        assert sum(round(unit) for unit in units) <= 10_000 * node.gpus
        if node.gpus and not without_gpu:
            assert all(place.gpu for place in here)
        else:
            assert not any(place.gpu for place in here)
            assert len(here) <= max(1, node.memory // WORKER_BYTES)


def test_places_are_spread_over_the_nodes_and_gpus_are_shared_as_asked() -> None:
    one, two = Node("1", "a", 8, 0, 1e12, True), Node("2", "b", 8, 2, 1e12, True)
    assert [place.key for place in ray_nodes.places([one, two], 3)] == [("1", 0), ("2", 0), ("1", 1)]
    assert ray_nodes.places([two], 0) == [Place(two, 0, 1.0), Place(two, 1, 1.0)]
    six = ray_nodes.places([two], 6)
    assert [(place.gpu, place.sharing) for place in six] == [(0.3333, 3)] * 6


def test_only_nodes_that_are_up_count_and_a_shared_machine_is_known() -> None:
    def listed(node: str, address: str, up: bool, **resources: float) -> dict[str, Any]:
        return {"NodeID": node, "NodeManagerAddress": address, "Alive": up, "Resources": resources}

    told = [
        listed("1", "10.0.0.1", True, CPU=4.0, GPU=1.0, memory=8e9),
        listed("2", "10.0.0.1", False),
        listed("3", "10.0.0.2", True, CPU=2.0),
        listed("4", "10.0.0.2", True),
    ]
    assert ray_nodes.nodes_up(told) == [
        Node("1", "10.0.0.1", 4, 1, 8e9, True),
        Node("3", "10.0.0.2", 2, 0, 0.0, False),
        Node("4", "10.0.0.2", 0, 0, 0.0, False),
    ]


# --- the images on their way


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


class Store:
    """Ray's object store, with a count of what was fetched from it."""

    def __init__(self) -> None:
        self.fetched = 0

    def get(self, held: ray_data.Raw) -> ray_data.Raw:
        self.fetched += 1
        return held


@pytest.mark.usefixtures("own_cache")
def test_images_are_fetched_once_and_again_where_they_were_altered(tmp_path: Path) -> None:
    data, store = stand_ins.prepared(tmp_path / "data"), Store()
    sent = ray_data.shipment(data, lambda content: content)
    here, fetched = ray_data.local(data, sent, store.get)
    assert (store.fetched, fetched) == (2, data.images.stat().st_size + data.labels.stat().st_size)
    assert here.images != data.images
    assert np.array_equal(here.load().train_images, data.load().train_images)
    assert ray_data.local(data, sent, store.get) == (here, 0)
    here.images.write_bytes(b"something else")
    assert ray_data.local(data, sent, store.get) == (here, data.images.stat().st_size)
    assert store.fetched == 3


@pytest.mark.usefixtures("own_cache")
def test_images_that_are_not_what_was_sent_are_refused(tmp_path: Path) -> None:
    data = stand_ins.prepared(tmp_path / "data")
    sent = ray_data.shipment(data, lambda content: content)
    wrong = Shipment(sent.sha256, np.zeros(10, np.uint8), sent.labels)
    with pytest.raises(FatalError, match="other images came than were sent"):
        ray_data.local(data, wrong, lambda held: held)


def test_a_nodes_folder_must_be_ones_own(own_cache: Path) -> None:
    folder = own_cache / f"fmnist-sweep-node-{os.getuid()}"
    (own_cache / "elsewhere").mkdir()
    folder.symlink_to(own_cache / "elsewhere")
    with pytest.raises(FatalError, match="belongs to somebody else; set TMPDIR"):
        ray_data.cache_folder()
    folder.unlink()
    assert ray_data.cache_folder().stat().st_mode & 0o777 == 0o700


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
