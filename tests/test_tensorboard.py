"""What TensorBoard shows, read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.errors import HomeError
from fmnist_sweep.state import JobRecord
from fmnist_sweep.views import tensorboard
from tests import stand_ins

BEGUN = 1_000.0


def job(number: int = 0) -> JobRecord:
    """A trial of three epochs with a report within the first one."""
    proposal = stand_ins.proposals()[number]
    points = (0.5, 1.0, 2.0, 3.0)
    return JobRecord(
        key=f"final-{number}",
        kind="final",
        number=-1,
        arch=proposal.arch,
        train=proposal.train,
        fingerprint=proposal.fingerprint,
        drawn={},
        report_at=points,
        reports=tuple(stand_ins.reports_of(proposal.arch, proposal.train, points)),
        started=BEGUN,
    )


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def values(found: Any, tag: str) -> list[tuple[int, float, float]]:
    return [(it.step, it.wall_time, it.tensor_proto.float_val[0]) for it in found.Tensors(tag)]


@pytest.mark.parametrize(("part", "prefix"), [("train", "train"), ("validation", "val")])
def test_curves_are_read_back_as_they_were_reported(tmp_path: Path, part: str, prefix: str) -> None:
    trained = job()
    tensorboard.write(tmp_path / "study", {"lab-cnn1-seed1": trained})
    found = read(tmp_path / "study" / "lab-cnn1-seed1" / part)
    assert set(found.Tags()["tensors"]) == {"epoch_accuracy", "epoch_loss"}
    whole = trained.reports[1:]
    for name in ("accuracy", "loss"):
        steps, times, shown = zip(*values(found, f"epoch_{name}"), strict=True)
        assert steps == (0, 1, 2)
        assert times == pytest.approx([BEGUN + report.train_s for report in whole])
        assert shown == pytest.approx([getattr(report, f"{prefix}_{name}") for report in whole])


def test_it_is_written_anew_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    tensorboard.write(folder, {"trial-1-seed1": job(0), "trial-2-seed1": job(1)})
    tensorboard.write(folder, {"trial-2-seed1": job(1)})
    assert [path.name for path in folder.iterdir()] == ["trial-2-seed1"]
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    assert len(values(read(folder / "trial-2-seed1" / "train"), "epoch_loss")) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeError, match=r"file/study can't be written"):
        tensorboard.write(tmp_path / "file" / "study", {"net": job()})
