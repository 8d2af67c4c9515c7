"""What tests put in the place of training: trainers without TensorFlow, images, jobs and a small sweep.

Every trainer is a module-level ``RunTrial``, so a worker process can import it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_sweep import config, durable, space
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec, fingerprint
from fmnist_sweep.data import PreparedData
from fmnist_sweep.errors import DataError, Diverged
from fmnist_sweep.proposers import Proposal, Task
from fmnist_sweep.pruning import report_points
from fmnist_sweep.schema import Sampler
from fmnist_sweep.trial import Report, ReportTo, TrialJob, TrialResult

SHAPE, CLASSES = (8, 8, 1), 3
PATIENCE_S = 120.0

# 12 configurations: one or two blocks, three rates, with a hidden layer or without.
SWEEP = """
title = "a sweep for tests"
study = { sampler = "SAMPLER", startup_trials = 3 }
fidelity = { pruner = "asha", rungs = [0.5, 1], reduction = 3 }

[space]
depth = { choices = [1, 2] }
filters = 8
dropout = { low = 0.0, high = 0.4, step = 0.2 }
dense_units = { choices = [0, 16] }
epochs = 3
"""


def prepared(folder: Path) -> PreparedData:
    """Writes 60 images, the last 20 of them for validation."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = folder / "images.npy", folder / "labels.npy"
    np.save(images, rng.integers(0, 256, (60, *SHAPE), dtype=np.uint8))
    np.save(labels, (np.arange(60) % CLASSES).astype(np.uint8))
    return PreparedData(images, labels, SHAPE, ("shirt", "shoe", "bag"), "0" * 16, 40, 20)


def job(folder: Path, key: str = "trial-0000", *, filters: int = 8, epochs: int = 3) -> TrialJob:
    """A job whose files are under ``folder``; jobs with other ``filters`` have other curves."""
    arch = ArchSpec(SHAPE, CLASSES, blocks=(BlockSpec(filters),))
    train = TrainSpec(epochs=epochs)
    return TrialJob(key, arch, train, report_points(epochs, (0.5,)), prepared(folder / "data"), folder / "jobs" / key)


def task(sampler: Sampler = "tpe", seed: int = 0) -> Task:
    """The small sweep ``SWEEP``."""
    return Task(config.parse(SWEEP.replace("SAMPLER", sampler), "SWEEP"), SHAPE, CLASSES, seed)


def proposals() -> list[Proposal]:
    """All that the small sweep can propose."""
    return [Proposal(*found) for found in space.configurations(task().config, input_shape=SHAPE, classes=CLASSES)]


def asked(number: int, proposal: Proposal) -> dict[str, Any]:
    """Body of the event that a driver records for a new trial."""
    return {
        "kind": "trial",
        "number": number,
        "arch": proposal.arch.to_dict(),
        "train": proposal.train.to_dict(),
        "fingerprint": proposal.fingerprint,
        "drawn": proposal.drawn,
        "report_at": report_points(proposal.train.epochs, (0.5,)),
        "same_as": "",
    }


def reports_of(arch: ArchSpec, train: TrainSpec, report_at: tuple[float, ...]) -> list[Report]:
    """The learning curve that ``quick`` reports: rising, the same for the same net and recipe, others for others."""
    talent = 0.5 + 0.4 * int(fingerprint(arch, train)[:6], 16) / 0xFFFFFF
    found = []
    for place, epoch in enumerate(report_at):
        accuracy = talent * epoch / (epoch + 0.5)
        found.append(
            Report(place, epoch, 1 - accuracy, accuracy, 1.1 - accuracy, accuracy, 0.01 * epoch, int(epoch * 40))
        )
    return found


def result_of(done: TrialJob) -> TrialResult:
    """How ``quick`` ends."""
    last = reports_of(done.arch, done.train, done.report_at)[-1]
    sum_ = hashlib.sha256(_weights(done)).hexdigest()
    return TrialResult(last.epoch, last.epoch, last.val_accuracy, last.train_s, last.images, sum_)


def quick(job: TrialJob, report: ReportTo) -> TrialResult:
    """Reports its curve, from its checkpoint on, and leaves weights, all at once."""
    return _train(job, report, lambda _: None)


def diverging(job: TrialJob, report: ReportTo) -> TrialResult:
    """Diverges after the first report."""
    return _train(job, report, lambda place: _raise(Diverged("the loss became nan in epoch 1"), place == 1))


def unreadable(job: TrialJob, report: ReportTo) -> TrialResult:
    """Finds its images gone after the first report."""
    gone = DataError("images.npy can't be read: it is gone; start again, which mends it")
    return _train(job, report, lambda place: _raise(gone, place == 1))


def raising(job: TrialJob, report: ReportTo) -> TrialResult:
    """Raises before the first report, with a message of two lines."""
    return _train(job, report, lambda _: _raise(ValueError("no such layer\nand more to say")))


def memory(job: TrialJob, report: ReportTo) -> TrialResult:
    """Asks for more memory than there is, before the first report."""
    return _train(job, report, lambda _: _raise(MemoryError("no room for 9 TiB")))


def hanging(job: TrialJob, report: ReportTo) -> TrialResult:
    """Gives no sign of life after the first report."""
    return _train(job, report, lambda place: threading.Event().wait() if place == 1 else None)


def killing_itself(job: TrialJob, report: ReportTo) -> TrialResult:
    """The first attempt is ended by SIGKILL on its way to the second report; for processes of their own alone."""

    def die_once(place: int) -> None:
        marker = job.folder / "has-died"
        if place == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return _train(job, report, die_once)


def always_killing_itself(job: TrialJob, report: ReportTo) -> TrialResult:
    """Every attempt is ended by SIGKILL before its first report; for processes of their own alone."""
    return _train(job, report, lambda _: os.kill(os.getpid(), signal.SIGKILL))


def noting_cores(job: TrialJob, report: ReportTo) -> TrialResult:
    """Writes the numbers of the cores it may use into its folder."""
    durable.write(job.folder / "cores", " ".join(map(str, sorted(os.sched_getaffinity(0)))).encode())
    return _train(job, report, lambda _: None)


def wait_for(true: Callable[[], object], what: str) -> None:
    """Waits until ``true()``; a test that waits for long has failed."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def _train(job: TrialJob, report: ReportTo, on_the_way: Callable[[int], object]) -> TrialResult:
    saved = durable.read_sealed(job.checkpoint)
    for said in reports_of(job.arch, job.train, job.report_at)[max(0, int(saved or 0) - 1) :]:
        on_the_way(said.place)
        durable.write_sealed(job.checkpoint, str(said.place + 1).encode())
        report(said)
    durable.write(job.weights, _weights(job))
    return result_of(job)


def _weights(job: TrialJob) -> bytes:
    return f"weights of {fingerprint(job.arch, job.train)}".encode()


def _raise(error: Exception, now: bool = True) -> None:
    if now:
        raise error


def dies_until(tries: Path, deaths: int) -> int:
    """Kills its own process the first ``deaths`` times, then returns how often it was called."""
    count = len(tries.read_text()) + 1 if tries.exists() else 1
    tries.write_text("x" * count)
    if count <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def bulky_checkpoints(job: TrialJob, report: ReportTo) -> TrialResult:
    """As ``quick``, with checkpoints of half a megabyte, as far as there is room."""
    return _train(job, report, lambda place: durable.write(job.folder / f"bulk-{place % 2}", bytes(500_000)))


def bulky_weights(job: TrialJob, report: ReportTo) -> TrialResult:
    """As ``quick``, and then a model of half a megabyte."""
    result = quick(job, report)
    durable.write(job.folder / "bulk", bytes(500_000))
    return result


def stopping_itself(job: TrialJob, report: ReportTo) -> TrialResult:
    """The first attempt is halted by SIGSTOP on its way to the second report; for processes of their own alone."""

    def halt_once(place: int) -> None:
        marker = job.folder / "has-halted"
        if place == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    return _train(job, report, halt_once)


def greedy(job: TrialJob, report: ReportTo) -> TrialResult:
    """Takes ever more memory after the first report of a net with a hidden layer, until the kernel ends it."""

    def take_all(place: int) -> None:
        if place == 1 and job.arch.dense:
            taken = []
            while True:
                taken.append(b"x" * 2**22)

    return _train(job, report, take_all)
