"""One net under several names, as the lab's nets have them, and trials that are one of those."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_sweep import config, lab
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.pasts import Pasts
from fmnist_sweep.proposers import Task
from fmnist_sweep.trial import Extra, ReportTo, TrialJob, TrialResult
from tests import stand_ins
from tests.driver_place import Place, nets


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, stand_ins.task())


def test_the_lab_is_never_pruned_and_a_twin_is_not_trained_twice(place: Place) -> None:
    trained: list[str] = []

    def noting(job: TrialJob, report: ReportTo) -> TrialResult:
        trained.append(job.key)
        return stand_ins.quick(job, report)

    place.drive(4, noting, nets())
    state = place.state
    assert "lab-cnn3-bn-as-written" not in trained
    written, cnn3 = state.jobs["lab-cnn3-bn-as-written"], state.jobs["lab-cnn3"]
    assert written.same_as == "lab-cnn3"
    assert (written.state, written.best, written.reports) == ("complete", cnn3.best, cnn3.reports)
    assert [job.state for job in state.of_kind("lab")] == ["complete"] * 5
    assert sorted(key for key in trained if key.startswith("lab")) == sorted(set(lab.NAMES) - {written.key})


def whole_epochs() -> Task:
    """The small sweep without a rung inside the first epoch: its trials report where the lab's nets do."""
    text = stand_ins.SWEEP.replace("SAMPLER", "tpe").replace("rungs = [0.5, 1]", "rungs = [1]")
    return Task(config.parse(text, "whole epochs"), stand_ins.SHAPE, stand_ins.CLASSES, 0)


@pytest.mark.parametrize("shares", [True, False])
def test_a_trial_that_is_one_of_the_labs_nets_shares_its_result_if_both_report_alike(
    tmp_path: Path, shares: bool
) -> None:
    place = Place(tmp_path, whole_epochs() if shares else stand_ins.task())
    place.drive(12)
    twin = place.state.trials()[5]
    other = Place(place.folder.path, place.task)
    extra = Extra("lab-twin", "lab", twin.arch, twin.train)
    assert fingerprint(twin.arch, twin.train) == twin.fingerprint
    other.drive(12, extras=[extra])
    (alike,) = [job for job in other.state.trials() if job.fingerprint == twin.fingerprint]
    assert alike.same_as == ("lab-twin" if shares else "")
    if shares:
        assert alike.best == other.state.jobs["lab-twin"].best
    assert tuple(report.epoch for report in alike.reports) == alike.report_at[: len(alike.reports)]


def test_one_of_the_labs_nets_that_a_trial_was_before_is_trained_in_full(place: Place) -> None:
    place.drive(12)
    pruned = place.state.trials("pruned")[0]
    place.drive(12, extras=[Extra("lab-twin", "lab", pruned.arch, pruned.train)])
    lab_net = place.state.jobs["lab-twin"]
    assert (lab_net.state, lab_net.epoch, lab_net.same_as) == ("complete", pruned.train.epochs, "")
    assert (place.folder.job("lab-twin") / "weights.npz").exists()


def test_a_trial_that_is_a_lab_net_which_diverged_has_diverged_too(tmp_path: Path) -> None:
    place = Place(tmp_path, whole_epochs())
    place.drive(12)
    twin = place.state.trials()[0]
    other = Place(place.folder.path, place.task)
    other.drive(1, stand_ins.diverging, [Extra("lab-twin", "lab", twin.arch, twin.train)])
    alike = other.state.trials()[0]
    assert alike.same_as == "lab-twin"
    assert alike.reason.startswith("diverged: the loss became nan")
    assert Pasts(0.0).of(alike).value == 0.0


def test_a_search_leaves_finals_and_lab_nets_that_nobody_asks_for_as_they_are(place: Place) -> None:
    cnn1, cnn3 = nets("lab-cnn1", "lab-cnn3")
    final = Extra("final-lab-cnn1-seed1", "final", cnn1.arch, cnn1.train.with_seed(1))
    assert place.drive(0, extras=[final, cnn1, cnn3], stop_after=1) == "interrupted"
    left = [job for job in place.state.unfinished() if job.kind != "trial"]
    assert left
    assert place.drive(6, extras=[cnn3]) == "done"
    after = place.state
    assert after.jobs["lab-cnn3"].state == "complete"
    assert after.left == {job.key for job in left} - {"lab-cnn3"}
    assert {job.key for job in after.others()} == {"lab-cnn1", "lab-cnn3", final.key} - after.left
    assert [after.jobs[job.key] for job in left if job.key != "lab-cnn3"] == [
        job for job in left if job.key != "lab-cnn3"
    ]
    assert place.drive(6, extras=[final], search=False) == "done"
    assert place.state.jobs[final.key].state == "complete"
    assert final.key not in place.state.left
    assert {job.key for job in place.state.unfinished()} == place.state.left


def test_a_trial_that_is_a_lab_net_which_an_earlier_run_left_has_it_trained(tmp_path: Path) -> None:
    place = Place(tmp_path, whole_epochs())
    place.drive(12)
    twin = place.state.trials()[5]
    other = Place(place.folder.path, place.task)
    extra = Extra("lab-twin", "lab", twin.arch, twin.train)
    assert other.drive(0, extras=[extra], stop_after=1) == "interrupted"
    assert [job.key for job in other.state.unfinished()] == ["lab-twin"]
    assert other.drive(12) == "done"
    assert other.state.jobs["lab-twin"].state == "complete"
    assert not other.state.left  # though at first it was
    assert not other.state.unfinished()


def test_a_net_whose_twin_was_interrupted_is_trained_without_a_search_too(place: Place) -> None:
    cnn3, written = nets("lab-cnn3", "lab-cnn3-bn-as-written")
    assert place.drive(0, extras=[cnn3], stop_after=1) == "interrupted"
    assert place.drive(0, extras=[written], search=False) == "done"
    assert place.state.jobs[written.key].state == "complete"


def test_a_last_trial_that_is_one_of_the_labs_nets_ends_too(tmp_path: Path) -> None:
    place = Place(tmp_path, whole_epochs())
    place.drive(12)
    twin = place.state.trials()[-1]
    other = Place(place.folder.path, place.task)
    assert other.drive(12, extras=[Extra("lab-twin", "lab", twin.arch, twin.train)]) == "done"
    last = other.state.trials()[-1]
    assert (last.same_as, last.state) == ("lab-twin", "complete")
    assert len(other.state.trials("complete")) >= place.task.config.study.keep_models


def test_a_search_goes_on_after_a_trial_that_is_one_of_the_labs_nets_where_patience_is_short(tmp_path: Path) -> None:
    place = Place(tmp_path, whole_epochs())
    place.drive(12)
    for number in range(1, 5):
        twin = place.state.trials()[number]
        folder = tmp_path / f"{number}"
        folder.mkdir()
        other, alone = Place(folder, place.task), Place(folder / "study", place.task)
        outcome = other.drive(12, patience=3, extras=[Extra("lab-twin", "lab", twin.arch, twin.train)])
        assert outcome == alone.drive(12, patience=3)
        found, expected = other.state, alone.state
        assert [job.best for job in found.trials()] == [job.best for job in expected.trials()]
        assert len(found.trials("complete")) == len(expected.trials("complete"))
