"""The Ray executor on real clusters of several nodes on one machine: how busy the nodes are, what the driver pays."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import simulated
from benchmarks.figures import Spread, clock
from benchmarks.nodes import Nodes
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep import config as sweeps
from fmnist_sweep import durable, proposers
from fmnist_sweep.data import PreparedData
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST
from fmnist_sweep.driver import Driver
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors.ray import RayExecutor
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Task
from fmnist_sweep.schema import FidelitySection, SweepConfig
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import ReportTo, TrialJob, TrialResult

NAME = "cluster"
TRIAL_S = 6.0
_CHECKPOINT_BYTES = 8_000_000
_IMAGES = 60_000
_JOIN_S = 600.0


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "nodes": [1] if options.quick else [1, 4, 16],
        "trials": options.pick(options.trials, 200, 2),
        "trials_of_one_node": 20,
        "trial_s": TRIAL_S,
        "checkpoint_bytes": _CHECKPOINT_BYTES,
    }


def run(options: Options, record: Record) -> Result:
    """Measures cluster by cluster, each as often as asked for."""
    chosen = settings(options)
    times = options.pick(options.repeats, 3, 1)
    found: dict[int, list[Mapping[str, Any]]] = {}
    for turn in range(times):
        for nodes in chosen["nodes"]:
            trials = chosen["trials"] if nodes > 1 else min(chosen["trials"], chosen["trials_of_one_node"])
            folder = options.out / NAME / f"{nodes}-{time.strftime('%Y%m%d-%H%M%S')}"
            measured = record.once(f"{nodes} nodes {turn}", lambda n=nodes, t=trials, f=folder: measure(n, t, f))  # type: ignore[misc]
            found.setdefault(nodes, []).append(measured)
    return Result(
        name=NAME,
        about=f"Trials of {TRIAL_S:g} s that need no processor, four reports each with a checkpoint of "
        f"{_CHECKPOINT_BYTES / 1e6:g} MB, on real Ray nodes of one slot, all on this machine; the product's own "
        "driver, ledger and executor.",
        figures={str(nodes): [dict(it) for it in runs] for nodes, runs in found.items()},
        tables=(_table(found),),
        quick=options.quick,
    )


def waiting(job: TrialJob, report: ReportTo) -> TrialResult:
    """Takes its time instead of training: reports a rising curve, with a checkpoint before each report."""
    saved = durable.read_sealed(job.checkpoint)
    done = 0 if saved is None else saved[0]
    reports = simulated.curve(int(job.key.rpartition("-")[2]), job.report_at)
    for said in reports[done:]:
        time.sleep(TRIAL_S / len(reports))
        durable.write_sealed(job.checkpoint, bytes([said.place + 1]) * _CHECKPOINT_BYTES)
        report(said)
    return TrialResult.so_far(reports)


def measure(nodes: int, trials: int, folder: Path) -> dict[str, Any]:
    """A study of so many trials on a cluster of so many nodes."""
    print(f"cluster: {trials} trials on {nodes} nodes", file=sys.stderr)
    study = StudyFolder(folder / "study")
    study.path.mkdir(parents=True)
    task, data = _task(), _images(folder)
    with closing(Nodes(folder / "nodes")) as cluster, closing(Ledger(study.ledger)) as ledger:
        for _ in range(nodes):
            cluster.join()
        executor = RayExecutor(cluster.connection, log=study.log, run=waiting, preload=(__name__,))
        with closing(executor):
            _await(executor, nodes)
            driver = Driver(
                ledger=ledger,
                task=task,
                data=data,
                folder=study,
                proposer=proposers.make(task),
                executor=executor,
            )
            began, cpu = time.perf_counter(), time.process_time()
            driver.run(trials)
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
            fetched = dict(executor.fetched)
        state = StudyState.of(ledger.events())
    return {
        "trials": len(state.trials("complete")),
        "wall_s": wall_s,
        "busy": len(state.trials("complete")) * TRIAL_S / (wall_s * nodes),
        "driver_cpu_ms": 1000 * cpu_s / trials,
        "fetched_bytes_per_node": sorted(fetched.values()),
    }


def _await(executor: RayExecutor, slots: int) -> None:
    deadline = time.monotonic() + _JOIN_S
    while executor.slots < slots:
        if time.monotonic() > deadline:
            raise FatalError(f"{executor.slots} of {slots} nodes joined in {_JOIN_S:g} s")
        executor.happenings(0.5)


def _task() -> Task:
    base = sweeps.load("default")[1]
    fidelity = FidelitySection(pruner="none", rungs=[1.0])
    study = base.study.model_copy(update={"sampler": "random", "keep_models": 1})
    config: SweepConfig = base.changed(epochs=4).model_copy(update={"fidelity": fidelity, "study": study})
    return Task(config, FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names), 0)


def _images(folder: Path) -> PreparedData:
    """As many bytes as the real images have."""
    images, labels = folder / "images.npy", folder / "labels.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (_IMAGES, *FASHION_MNIST.image_shape), dtype=np.uint8))
    np.save(labels, np.zeros(_IMAGES, np.uint8))
    return PreparedData(images, labels, FASHION_MNIST.image_shape, FASHION_MNIST.class_names, "simulated")


def _table(found: Mapping[int, list[Mapping[str, Any]]]) -> Table:
    rows = []
    for nodes, runs in found.items():
        sent = {bytes_ for it in runs for bytes_ in it["fetched_bytes_per_node"]}
        rows.append(
            (
                f"{nodes}",
                f"{len(runs)}",
                f"{runs[0]['trials']}",
                clock(Spread.of(it["wall_s"] for it in runs).median),
                Spread.of(100 * it["busy"] for it in runs).text(".1f"),
                Spread.of(it["driver_cpu_ms"] for it in runs).text(".0f"),
                ", ".join(f"{bytes_ / 1e6:.1f} MB" for bytes_ in sorted(sent)),
            )
        )
    return Table(
        "Nodes at work",
        ("nodes", "n", "trials", "time", "busy, %", "driver's CPU, ms a trial", "images sent to each node"),
        tuple(rows),
        "Median (quartiles). busy: the trials' own seconds by those of all nodes, from the first trial to the end of "
        "the last. Driver's CPU: all threads of its process, Ray's included. All nodes share this machine's cores, "
        "which start the workers too: with many nodes it is these that limit, not the cluster.",
    )
