"""Studies of many trials that never were: they are what the driver and the views would have made."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from benchmarks import ledgers, load, scale
from benchmarks.meters import cpu_s
from benchmarks.options import Options
from fmnist_sweep import config as sweeps
from fmnist_sweep.data import FASHION_MNIST, DataSource
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Task
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.mlflow_client import connect


def test_a_ledger_written_for_its_size_is_one_that_the_driver_goes_on_with(tmp_path: Path) -> None:
    found = scale.at_size(tmp_path, trials=12, more=5)
    assert found["events"] > 12 * 4
    for sampler in ("random", "tpe"):
        assert found[sampler]["driver_ms"] > 0
        assert found[sampler]["events_per_trial"] > 3


def test_the_processor_time_of_a_parent_has_that_of_its_children() -> None:
    mine = os.times()
    assert cpu_s(parent=os.getpid()) >= mine.user + mine.system + mine.children_user - 0.1
    assert cpu_s(parent=2**30) == 0  # nobody's


def test_a_written_ledger_keeps_the_weights_that_the_driver_would(tmp_path: Path) -> None:
    task = Task(sweeps.load("default")[1], FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names), 0)
    ledgers.write(tmp_path / "ledger.db", task, 90)
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        state = StudyState.of(ledger.events())
    best = {job.key for job in state.ranked()[: task.config.study.keep_models]}
    assert len(state.trials("complete")) == 10 > len(best)
    assert {job.key for job in state.trials() if job.kept} == best


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")  # installs it where it is not
def test_copied_trials_are_there_as_if_the_views_had_shown_them(tmp_path: Path, source: DataSource) -> None:
    size, more = 30, 8
    with load.running(tmp_path, source) as servers:
        servers.at_size(size // 2, more)  # one size does not get in the other's way
        found = servers.at_size(size, more)
        assert found["MLflow"]["requests"] > 3
        assert all(found[view]["statements"] > 10 for view in ("MLflow", "Optuna"))
        client = connect(servers.tracking_uri)
        (large,) = client.search_experiments(filter_string=f"name LIKE 'load-{size}-%'")
        runs = client.search_runs([large.experiment_id], max_results=1000)
        trials = optuna.load_study(study_name=large.name, storage=servers.storage).trials
    copies = [run for run in runs if run.info.run_id.startswith(f"{size:016x}")]
    shown = [run for run in runs if run not in copies and "sweep.trial" in run.data.tags]
    assert (len(copies), len(shown)) == (size, more)
    assert all(run.data.params for run in runs)
    assert {frozenset(run.data.params) for run in copies} <= {frozenset(run.data.params) for run in shown}
    assert [trial.number for trial in trials] == list(range(size + more))
    assert all(trial.params for trial in trials)
    assert any(trial.intermediate_values for trial in trials[:size])


def test_the_options_of_a_quick_run_are_small() -> None:
    assert max(load.settings(Options(quick=True))["sizes"]) < min(load.settings(Options())["sizes"][1:])
