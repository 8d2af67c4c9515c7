"""What a sweep will cost: how the forecast is put together, and that it knows limits, workers and pace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep import arithmetic, config, estimate, space
from fmnist_sweep.estimate import Forecast, Pace
from fmnist_sweep.schema import Domain, Engine, FidelitySection, SweepConfig
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.study import with_engine
from fmnist_sweep.trial import Report
from tests.stand_ins import proposals
from tests.strategies import CALM

DEFAULT = config.load("default")[1]
TINY = config.load("tiny")[1]
HYPERBAND: Engine = "keras-tuner-hyperband"


def expected(sweep: SweepConfig = DEFAULT, target: int = 50, workers: int = 2, factor: float = 1.0) -> Forecast:
    shape: Any = (28, 28, 1)
    return estimate.forecast(sweep, target, workers, Pace(factor), images=48_000, input_shape=shape, classes=10, seed=0)


def with_fidelity(sampler: str = "tpe", **values: Any) -> SweepConfig:
    study = DEFAULT.study.model_copy(update={"sampler": sampler})
    return DEFAULT.model_copy(update={"study": study, "fidelity": FidelitySection.model_validate(values)})


def test_without_a_pruner_every_trial_goes_all_the_way() -> None:
    assert estimate.epochs_of_all(with_fidelity(pruner="none", rungs=[1.0]), 20) == 20 * 5


def test_halving_leaves_somewhat_more_than_its_share_at_each_rung_and_the_finalists() -> None:
    sweep = with_fidelity(pruner="asha", rungs=[0.5, 1.0], reduction=4)
    assert estimate.epochs_of_all(sweep, 100) == pytest.approx(100 * 0.5 + 40 * 0.5 + 16 * 4)
    assert estimate.epochs_of_all(sweep, 20) == pytest.approx(20 * 0.5 + 8 * 0.5 + 5 * 4)  # never fewer than five


def test_where_the_model_chooses_who_goes_on_it_is_the_very_share() -> None:
    sweep = with_fidelity("gp", pruner="asha", rungs=[0.5, 1.0], reduction=4)
    assert estimate.epochs_of_all(sweep, 100) == pytest.approx(100 * 0.5 + 25 * 0.5 + 6.25 * 4)


@CALM
@given(st.integers(1, 300), st.integers(2, 8))
def test_halving_costs_less_than_training_all_and_more_than_the_first_rung(target: int, reduction: int) -> None:
    sweep = with_fidelity(pruner="asha", rungs=[0.25, 1.0], reduction=reduction)
    assert 0.25 * target <= estimate.epochs_of_all(sweep, target) <= 5 * target


def test_twice_the_workers_take_half_as_long_and_a_slow_machine_longer() -> None:
    one, two, slow = expected(workers=1), expected(workers=2), expected(workers=1, factor=3.0)
    assert two.trials_s == pytest.approx(one.trials_s / 2)
    assert two.lab_s == pytest.approx(one.lab_s / 2)
    assert slow.trials_s == pytest.approx(3 * one.trials_s)


def test_a_model_that_weighs_time_chooses_quicker_nets_than_chance() -> None:
    by_model, by_chance = (expected(with_fidelity(it, **DEFAULT.fidelity.model_dump())) for it in ("gp", "random"))
    assert by_model.trials_s < 0.7 * by_chance.trials_s


def test_the_forecast_of_default_is_about_what_its_study_took() -> None:
    """50 trials on two cores of an AMD EPYC, where training took 1.24 times what arithmetic says: 1,443 s."""
    assert expected(factor=1.24).trials_s == pytest.approx(1_443, rel=0.1)


def test_hyperbands_trials_are_as_long_as_their_rounds() -> None:
    """KerasTuner's brackets for nine epochs, by three: 9, 3 and 1 trials of 1, 3 and 9 epochs; 5 and 2; 3."""
    sweep = with_engine(with_fidelity(pruner="asha", rungs=[0.5], reduction=3).changed(epochs=9), HYPERBAND)
    assert estimate.epochs_of_all(sweep, 13) == 9 * 1 + 3 * 3 + 1 * 9
    assert estimate.epochs_of_all(sweep, 23) == 27 + 5 * 3 + 2 * 9 + 3 * 9
    assert estimate.epochs_of_all(sweep, 24) == 87 + 1
    assert expected(sweep, 23).trials_s < 0.6 * expected(with_fidelity(pruner="none").changed(epochs=9), 23).trials_s


def test_hyperbands_sizes_are_keras_tuners() -> None:
    """For five epochs by three: 5 trials of two epochs, 2 of five; then 3 of five."""
    sweep = with_engine(with_fidelity(pruner="asha", rungs=[0.5], reduction=3).changed(epochs=5), HYPERBAND)
    assert [estimate.epochs_of_all(sweep, target) for target in (5, 7, 10)] == [10, 20, 35]


def test_searched_epochs_count_as_they_are_drawn() -> None:
    searched = DEFAULT.model_copy(
        update={
            "space": {**DEFAULT.space, "epochs": Domain(low=1, high=19)},
            "fidelity": DEFAULT.fidelity.model_copy(update={"pruner": "none"}),
        }
    )
    fixed = searched.changed(epochs=19)
    assert expected(searched).trials_s / expected(fixed).trials_s == pytest.approx(10 / 19, rel=0.15)


def test_where_nobody_is_selected_nets_cost_what_nets_cost() -> None:
    alone = expected(with_fidelity(pruner="none", rungs=[]))
    assert expected(with_fidelity(pruner="none", rungs=[1.0])).trials_s == pytest.approx(alone.trials_s)


def test_more_workers_than_trials_make_nothing_quicker() -> None:
    few = {
        workers: estimate.forecast(
            DEFAULT, 4, workers, Pace(), images=48_000, input_shape=(28, 28, 1), classes=10, seed=0
        )
        for workers in (4, 32)
    }
    assert few[32].trials_s == few[4].trials_s
    assert few[32].lab_s > few[4].lab_s / 4


def test_the_time_left_counts_the_nets_beside_the_trials_and_scoring() -> None:
    arch, train = proposals()[0].arch, proposals()[0].train.with_seed(0)
    arch, train = arch, replace(train, epochs=4)
    half = Report(1, 2.0, 1.0, 0.5, 1.0, 0.5, 18.0, 40, None, 2.0)
    done = JobRecord(
        "final-a-seed1", "final", -1, arch, train, "", {}, (1.0, 2.0, 4.0), state="running", reports=(half,)
    )
    waiting = replace(done, key="final-a-seed2", reports=(), state="waiting")
    state = StudyState(study={"config": DEFAULT.model_dump(mode="json")})
    state.jobs = {job.key: job for job in (done, waiting)}
    assert estimate.seconds_left(state, 0, 1) == pytest.approx(10.0 * 2 + 10.0 * 4)
    assert estimate.seconds_left(state, 0, 2) == pytest.approx(30.0)
    assert estimate.seconds_left(state, 50, 2) is None  # no trial has a pace yet
    state.left = frozenset({waiting.key})  # for another run
    assert estimate.seconds_left(state, 0, 1) == pytest.approx(10.0 * 2)
    state.jobs = {waiting.key: waiting}
    assert estimate.seconds_left(state, 0, 1) is None


def test_many_short_trials_cost_their_starts() -> None:
    short = DEFAULT.changed(epochs=1)
    few = estimate.forecast(short, 50, 1, Pace(), images=100, input_shape=(28, 28, 1), classes=10, seed=0)
    assert few.trials_s > 100  # fifty processes that hardly train


def test_nets_over_the_limits_are_left_out_and_counted() -> None:
    found = expected(TINY)
    assert 0 < found.over_limits < 1
    assert all(space.excess(arch, TINY.limits) <= 0 for arch, _ in found.nets)
    assert expected().over_limits == 0


def test_pace_is_that_of_what_was_trained() -> None:
    proposal = proposals()[0]
    arch, train = proposal.arch, proposal.train
    images = round(4 / arithmetic.image_s(arch, train))  # four seconds of them
    report = Report(0, 1.0, 1.0, 0.5, 1.0, 0.5, 2.5 * 4, images)
    job = JobRecord("trial-0000", "trial", 0, arch, train, "", {}, (1.0,), reports=(report,))
    assert Pace.of([job]) == Pace(pytest.approx(2.5, rel=1e-3), 1)  # type: ignore[arg-type]
    short = replace(job, reports=(replace(report, train_s=30.0, images=100),))  # making the graph took most of it
    assert Pace.of([replace(job, same_as="lab-cnn1"), replace(job, reports=()), short]) == Pace()


def test_a_probe_says_something_of_this_machine() -> None:
    found = Pace.probed()
    assert 0 < found.factor < 1000
    assert found.trials == 0
