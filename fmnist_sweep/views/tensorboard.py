"""Shows the finals in TensorBoard: the curves of each net and seed, named as Keras' own callback names them.

Written from the ledger as a whole, in place of what was there; nothing is written while a net trains.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fmnist_sweep import durable
from fmnist_sweep.errors import HomeError
from fmnist_sweep.state import JobRecord

Point = tuple[float, int, dict[str, float]]  # seconds since 1970, step, value by tag


def write(folder: Path, jobs: Mapping[str, JobRecord]) -> None:
    """Writes a folder for each job, with ``train`` and ``validation`` in it.

    Each holds ``epoch_accuracy`` and ``epoch_loss``; the first epoch is step 0, as in Keras. Report points within an
    epoch are left out. The time of a point is that of the job's start and the seconds of training until then.

    Args:
        folder: What is there goes.
        jobs: By the name that their folder is to have.

    Raises:
        HomeError: The files can't be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tensorboard-"))
        try:
            for name, job in jobs.items():
                for part, points in (("train", _points(job, "train")), ("validation", _points(job, "val"))):
                    _write(scratch / name / part, job.started, points)
            scratch.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        durable.sync_folder(folder.parent)
    except OSError as error:
        raise HomeError(f"{folder} can't be written: {error.strerror or error}") from None


def _points(job: JobRecord, part: str) -> Iterator[Point]:
    for report in job.reports:
        if report.epoch == int(report.epoch):
            values = {f"epoch_{name}": float(getattr(report, f"{part}_{name}")) for name in ("accuracy", "loss")}
            yield job.started + report.train_s, int(report.epoch) - 1, values


def _write(folder: Path, begun: float, points: Iterable[Point]) -> None:
    """One event file: a header, then an event for each value."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    events = [Event(wall_time=begun, file_version="brain.Event:2")]
    for when, step, values in points:
        events += [Event(wall_time=when, step=step, summary=scalar_pb(tag, value)) for tag, value in values.items()]
    folder.mkdir(parents=True)
    with (folder / f"events.out.tfevents.{begun:.0f}.fmnist_sweep").open("xb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
