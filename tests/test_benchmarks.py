"""The benchmarks' own parts: statistics, ledgers read, replays, peers' spaces; and one small run of the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import (
    alone,
    bookkeeping,
    calibration_real,
    images,
    layers,
    pace,
    processes,
    throughput,
    workers,
)
from benchmarks.figures import Difference, Spread, clock, geometric_mean, slope
from benchmarks.options import Options
from benchmarks.record import Record, append_line, read_lines
from benchmarks.tables import Result, Table, publish
from benchmarks.workers import Heard
from fmnist_sweep import kernels
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.data import FASHION_MNIST, DataSource
from fmnist_sweep.errors import FatalError
from fmnist_sweep.trial import Report, TrialJob

SHAPE, CLASSES = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)


# --- the record: nothing measured is lost or measured twice


def test_a_measurement_is_made_once_and_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "throughput.jsonl"
    Record(path, {"epochs": 1}).once("a", lambda: {"images_per_s": 1.5})
    with path.open("ab") as file:
        file.write(b'{"key": "b", "fou')  # the machine went down here
    record = Record(path, {"epochs": 1})
    assert record.known("b") is None
    assert record.once("a", lambda: pytest.fail("measured again")) == {"images_per_s": 1.5}
    record.once("b", lambda: {"images_per_s": 2.5})
    again = Record(path, {"epochs": 1})
    assert (again.known("a"), again.known("b")) == ({"images_per_s": 1.5}, {"images_per_s": 2.5})


def test_measurements_of_other_settings_are_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "throughput.jsonl"
    Record(path, {"epochs": 1}).add("a", {"s": 1.0})
    (tmp_path / "throughput" / "home").mkdir(parents=True)  # a study in it would be taken for a new one
    assert Record(path, {"epochs": 2}).known("a") is None
    assert not (tmp_path / "throughput").exists()
    (aside,) = tmp_path.glob("throughput-until-*.jsonl")
    assert (aside.with_suffix("") / "home").is_dir()
    assert [line.get("key") for line in read_lines(aside)] == [None, "a"]
    assert Record(path, {"epochs": 2}, fresh=True).known("a") is None


def test_what_is_published_says_where_it_was_measured(tmp_path: Path) -> None:
    record = Record(tmp_path / "x.jsonl", {"epochs": 1})
    record.add("a", {"s": 1.0})
    result = Result("x", "About.", {"s": 1.0}, (Table("T", ("what", "s"), (("a", "1.0"),)),), quick=True)
    text = publish(tmp_path, result, record)
    assert text == (tmp_path / "x.md").read_text()
    assert "| what | s |\n| --- | ---: |\n| a | 1.0 |" in text
    assert "its figures mean nothing" in text
    whole = json.loads((tmp_path / "x.json").read_text())
    assert whole["figures"] == {"s": 1.0}
    assert {"machine", "versions", "commits", "settings", "load"} <= whole.keys()
    assert whole["versions"]["tensorflow"] in text


# --- small statistics


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30))
def test_a_spread_is_in_order_and_within_its_values(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) <= spread.low <= spread.median <= spread.high <= max(values)
    assert spread.n == len(values)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=10))
def test_the_geometric_mean_of_swapped_sides_is_the_inverse(ratios: list[float]) -> None:
    assert geometric_mean([1 / ratio for ratio in ratios]) == pytest.approx(1 / geometric_mean(ratios))


def test_a_difference_needs_two_values_a_side_for_its_error() -> None:
    assert Difference.of([1.0], [0.5, 0.75]) == Difference(0.375, None)
    found = Difference.of([1.0, 2.0], [1.0, 2.0])
    assert found.estimate == 0.0
    assert found.standard_error == pytest.approx(np.sqrt(0.5))


def test_a_slope_is_that_of_the_line_and_its_error_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(400.0)
    found, error = slope(x.tolist(), (3 * x + rng.normal(0, 5, 400)).tolist())
    assert abs(found - 3) < 4 * error
    assert error == pytest.approx(5 / np.sqrt(((x - x.mean()) ** 2).sum()), rel=0.2)


def test_times_are_told_for_people() -> None:
    assert [clock(seconds) for seconds in (5.4, 65, 3_700)] == ["5 s", "1 min 05 s", "1 h 01 min"]


# --- throughput


def _reported(epoch: float, train_s: float, accuracy: float) -> Report:
    return Report(int(epoch) - 1, epoch, 0.5, accuracy, 0.5, accuracy, train_s, 100)


def test_throughput_leaves_out_the_first_epoch_and_scoring_on_both_sides() -> None:
    first = Heard([_reported(1, 9.0, 0.8), _reported(2, 10.0, 0.9)], [100.0, 102.0])
    second = Heard([_reported(1, 9.0, 0.8), _reported(2, 11.0, 0.7), _reported(3, 13.0, 0.6)], [100.0, 104.0, 108.0])
    ours = throughput.of_workers({"a": first, "b": second}, 1000, 1)
    assert ours == {
        "images_per_s": 1000 / 1 + 1000 / 2,
        "images_per_s_with_scoring": 1000 / 2 + 1000 / 4,
        "val_accuracy": [0.9, 0.7],
    }
    epochs = [
        {"train_s": 7.0, "whole_s": 8.0, "val_accuracy": 0.5},
        {"train_s": 2.0, "whole_s": 4.0, "val_accuracy": 0.6},
    ]
    theirs = throughput.of_fit(epochs, 1000)
    assert theirs == {
        "images_per_s": 500.0,
        "images_per_s_with_scoring": 250.0,
        "val_accuracy": [0.6],
    }
    contenders = {throughput.OURS: ours, throughput.FIT: theirs, throughput.ONE: ours, throughput.STEPS: theirs}
    found = {(net, name): [one, one] for net in ("x", "y") for name, one in contenders.items()}
    result = throughput.summed_up(found, ["x", "y"], {"epochs": 1, "train_images": 1000}, quick=False)
    assert result.figures["ratio"] == {"x": 3.0, "y": 3.0}
    assert result.figures["ratio_geometric_mean"] == pytest.approx(3.0)
    assert result.figures["accuracy"]["x"]["estimate"] == pytest.approx(0.2)


# --- fused layers


def test_the_ratio_of_layers_is_that_of_each_round() -> None:
    found = {
        ("default", "a"): {"plain": [2.0, 4.0, 6.0], "fused": [1.0, 2.0, 3.0], "without": [3.0, 6.0, 9.0]},
        ("default", "b"): {"plain": [8.0], "fused": [1.0], "without": [12.0]},
    }
    result = layers.summed_up(found, {"nets": 2, "images": 100}, 3, quick=False)
    means = result.figures["ratio_geometric_mean"]
    assert means == {"plain": {"default": pytest.approx(4.0)}, "without": {"default": pytest.approx(6.0)}}
    name, product, keras, without, *ratios = result.tables[0].rows[0]
    assert (name, product, keras) == ("default: a", "50 (42 to 75)", "25 (21 to 38)")
    assert (without, ratios) == ("17 (14 to 25)", ["2.00 (2.00 to 2.00)", "3.00 (3.00 to 3.00)"])


# --- alone


def test_nets_alone_are_told_quickest_first_with_the_ratio_of_each_round() -> None:
    nets = [arch for arch, _ in layers.drawn("default", 2)]
    found = [{"one": [0.4, 0.2], "all": [0.2, 0.1]}, {"one": [0.1], "all": [0.2]}]
    result = alone.summed_up(nets, found, 2, quick=False)
    quick, slow, mean = result.tables[0].rows
    assert quick == (nets[1].short, "10", "5", "0.50")
    assert slow == (nets[0].short, "4 (3 to 4)", "8 (6 to 9)", "2.00 (2.00 to 2.00)")
    assert mean[-1] == "1.00"
    assert result.figures["ratios"] == {nets[0].short: 2.0, nets[1].short: 0.5}


# --- the model of time


def test_the_fit_finds_the_constants_and_is_not_bent_by_a_worker_that_was_held_up() -> None:
    work = np.random.default_rng(0).uniform(1, 5, (40, 3))
    seconds = work @ [2.0, 0.0, 0.5]
    seconds[::8] *= 3
    assert pace.fitted(work, seconds) == pytest.approx([2.0, 0.0, 0.5], abs=0.05)


# --- calibration on real trainings


def test_one_net_beside_itself_is_seldom_told_apart_and_two_nets_are() -> None:
    rng = np.random.default_rng(0)
    same = rng.random((14, 2_000)) < rng.uniform(0.5, 1.0, 2_000)
    found = calibration_real.resampled(same, 12)
    assert found.false.share <= 0.25
    assert found.held.share >= 0.75
    assert found.held.standard_error is not None
    assert 0 < found.width < 0.1
    alternating = same.copy()
    alternating[::2, :400] = False  # half of the seeds are much worse: not one net any more, yet nothing crashes
    assert calibration_real.resampled(alternating, 3).width > found.width
    assert calibration_real.resampled(same[:12], 3).held.standard_error is None


# --- the command


def test_the_command_reads_its_options() -> None:
    names, options = command.parsed(["sweep", "--quick", "--peer-limit", "1.5h", "--peers", "optuna", "--trials", "7"])
    assert names == ["sweep"]
    assert options == replace(Options(), quick=True, peer_limit_s=5400.0, peers=("optuna",), trials=7)
    assert command.parsed([])[0] == list(command.BENCHMARKS)


@pytest.mark.parametrize("words", [["sweeps"], ["sweep", "--trials", "0"], ["sweep", "--peer-limit", "soon"]])
def test_the_command_names_what_is_wrong(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.parsed(words)
    assert ended.value.code == 2
    assert repr(words[-1]) in capsys.readouterr().err


@pytest.mark.parametrize("name", list(command.BENCHMARKS))
def test_every_benchmark_says_what_it_measures(name: str) -> None:
    import importlib

    module = importlib.import_module(f"benchmarks.{command.BENCHMARKS[name][0]}")
    assert name == module.NAME
    full, quick = module.settings(Options()), module.settings(Options(quick=True))
    assert json.loads(json.dumps(full)).keys() == quick.keys()
    assert full != quick


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bookkeeping_is_timed_with_the_real_views(tmp_path: Path, source: DataSource) -> None:
    data = images.prepared(Options(out=tmp_path), 48_000)
    found = bookkeeping.measure(source, data, tmp_path / "home", [3, 9], lambda _: None, half=2)
    assert found["trials"] == 12
    assert list(found["seconds"]) == ["3", "9"]
    for of in found["seconds"].values():
        assert {bookkeeping.DRIVER, *bookkeeping.PARTS_OF_DRIVER, "MLflow", "Optuna's storage"} == of.keys()
        assert all(spent["cpu"] > 0 and spent["wall"] > 0 for spent in of.values())
        assert sum(of[part]["wall"] for part in bookkeeping.PARTS_OF_DRIVER) < of[bookkeeping.DRIVER]["wall"]


@pytest.mark.slow
def test_a_net_is_trained_from_its_beginning_each_time(tmp_path: Path, source: DataSource) -> None:
    """An interrupted benchmark would hear of its last report alone, and those before are figures too."""
    data = images.prepared(Options(out=tmp_path, data_dir=source.folder), 320)
    job = TrialJob("net", ArchSpec(SHAPE, CLASSES), TrainSpec(epochs=1), (0.5, 1.0), data, tmp_path / "net")
    for _ in range(2):
        heard = workers.train([job], log=tmp_path / "log", workers=1, enough=lambda all_: all_["net"].epoch == 1)
        assert [report.epoch for report in heard["net"].reports] == [0.5, 1.0]
    assert workers.train([job], log=tmp_path / "log", workers=1)["net"].result is not None
    assert not job.checkpoint.exists()


def test_a_peer_has_tensorflow_as_it_comes() -> None:
    """Whatever the benchmark chooses for its own process."""
    program = (
        "from benchmarks import __main__\n"
        "from fmnist_sweep import kernels\n"
        "kernels.choose()\n"
        "from benchmarks import machine\n"
        "print(kernels.ONEDNN in machine.GIVEN)"
    )
    plain = {name: value for name, value in os.environ.items() if name != kernels.ONEDNN}
    told = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_a_process_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    sizes: list[int] = []
    ran = processes.run(["sleeper"], tmp_path, limit_s=20.0, look=lambda pid: sizes.append(processes.memory_bytes(pid)))
    assert (ran.stopped, ran.code, ran.stdout) == (True, -15, "here\n")
    assert max(sizes) > 1_000_000
    assert ran.cpu_s > 0


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("raise SystemExit('no such net')\n")
    with pytest.raises(FatalError, match=r"failing x ended with code 1: no such net \(see .*stderr.txt\)"):
        processes.run(["failing", "x"], tmp_path)


@pytest.mark.slow
def test_a_quick_throughput_with_the_real_workers_and_the_real_fit(tmp_path: Path, source: DataSource) -> None:
    words = ["throughput", "--quick", "--train-images", "320", "--out", str(tmp_path), "--data-dir", str(source.folder)]
    assert command.main(words) == 0
    measured = list(read_lines(tmp_path / "throughput.jsonl"))
    assert len(measured) == 5
    figures = json.loads((tmp_path / "throughput.json").read_text())["figures"]
    assert figures["ratio"]["lab-cnn1"] > 0
    assert command.main(words) == 0  # all is measured: this is only told again
    assert list(read_lines(tmp_path / "throughput.jsonl")) == measured


@pytest.mark.slow
def test_quick_layers_on_real_nets(tmp_path: Path) -> None:
    assert command.main(["layers", "--quick", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "layers.json").read_text())["figures"]
    assert set(figures["ratios"]) == {"plain", "without"}
    for ratios in figures["ratios"].values():
        assert all(ratio > 0 for of_sweep in ratios.values() for ratio in of_sweep)
        assert set(ratios) == {"default", "accuracy"}


def test_lines_are_whole_after_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b'{"session": 1}\n{"tri')
    append_line(path, {"session": 2})
    assert list(read_lines(path)) == [{"session": 1}, {"session": 2}]
