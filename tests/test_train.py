"""The fast path of training is right: Keras' own arithmetic, and a resumed training is the uninterrupted one."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist_sweep import data as datasets
from fmnist_sweep.arch import ArchSpec, BatchNorm, BlockSpec, TrainSpec
from fmnist_sweep.data import DataSource, Split
from fmnist_sweep.errors import Diverged
from fmnist_sweep.trial import Report

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SHAPE, CLASSES = (28, 28, 1), 10
PLAIN = ArchSpec(SHAPE, CLASSES, (BlockSpec(8), BlockSpec(16)), dense=(32,))
EVERYTHING = ArchSpec(
    SHAPE,
    CLASSES,
    (BlockSpec(8, dropout=0.25), BlockSpec(16, kernel_size=5, dropout=0.25)),
    batch_norm="before_activation",
    bn_dense=True,
    bn_logits=True,
    dense=(32,),
    dense_dropout=0.5,
)


@pytest.fixture(scope="module")
def split(source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A slice of the real data: 1,010 images, so that the last batch is short, and 500 to validate on."""
    loaded = datasets.prepare(source, tmp_path_factory.mktemp("data"), train_images=1010).load()
    return replace(
        loaded,
        validation_images=loaded.validation_images[:500],
        validation_labels=loaded.validation_labels[:500],
    )


def weights_of(model: object) -> list[NDArray[np.float32]]:
    return [np.asarray(weight) for weight in model.weights]  # type: ignore[attr-defined]


def test_the_images_are_in_memory_once_wherever_they_lie(source: DataSource, tmp_path: Path) -> None:
    from fmnist_sweep.train import Training

    def memory(tensor: object) -> NDArray[np.uint8]:
        return np.frombuffer(memoryview(tensor), np.uint8)  # type: ignore[arg-type]

    loaded = datasets.prepare(source, tmp_path, train_images=48).load()
    askew = np.empty(48 * 28 * 28 + 1, np.uint8)[1:].reshape(48, 28, 28, 1)
    askew[:] = loaded.train_images
    fixed = loaded.train_images.copy()
    fixed.flags.writeable = False
    training = Training(PLAIN, TrainSpec(epochs=1), loaded)
    assert np.shares_memory(memory(training.images), loaded.train_images)
    assert np.shares_memory(memory(training.validation[0]), loaded.validation_images)
    for other in (askew, fixed):
        copied = Training(PLAIN, TrainSpec(epochs=1), replace(loaded, train_images=other)).images
        assert not np.shares_memory(memory(copied), other)
        assert np.array_equal(copied, loaded.train_images)


@pytest.mark.parametrize("arch", [PLAIN, replace(PLAIN, batch_norm="after_activation")], ids=["plain", "batch norm"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_epoch_is_the_epoch_of_keras_fit(arch: ArchSpec, optimizer: str, split: Split) -> None:
    import keras

    from fmnist_sweep.model import build
    from fmnist_sweep.train import Training

    spec = TrainSpec(optimizer=optimizer, learning_rate=0.01, epochs=1, seed=3)  # type: ignore[arg-type]
    ours = Training(arch, spec, split)
    theirs = build(arch).model
    theirs.set_weights(ours.net.model.get_weights())
    order = np.random.default_rng([3, 0]).permutation(1010)
    theirs.compile(
        optimizer=keras.optimizers.Adam(0.01) if optimizer == "adam" else keras.optimizers.SGD(0.01),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    images, labels = split.train_images[order].astype(np.float32), split.train_labels[order]
    history = theirs.fit(images, labels, batch_size=32, epochs=1, shuffle=False, verbose=0).history
    ours.advance(1.0)
    progress = ours.progress
    assert progress.seen == 1010
    assert progress.loss_sum / progress.seen == pytest.approx(history["loss"][0], rel=5e-3)
    assert progress.correct / progress.seen == pytest.approx(history["accuracy"][0], abs=0.005)
    for found, expected in zip(weights_of(ours.net.model), weights_of(theirs), strict=True):
        # Where a gradient is next to nothing, Adam makes a whole step of its rounding.
        assert np.quantile(np.abs(found - expected), 0.99) < 0.02


@pytest.mark.parametrize("batch_norm", ["none", "before_activation"])
def test_scoring_the_last_steps_changes_nothing_in_the_training(split: Split, batch_norm: str) -> None:
    from fmnist_sweep.train import Training

    arch = replace(PLAIN, batch_norm=batch_norm)  # type: ignore[arg-type]
    plain, steady = (Training(arch, TrainSpec(epochs=2, seed=5), split) for _ in range(2))
    for epoch in (0.5, 1.0, 2.0):
        assert plain.advance(epoch) is None
        found = steady.advance(epoch, steady=True)
        assert found is not None
        assert 0 < found[1] <= 1
    for one, other in zip(weights_of(steady.net.model), weights_of(plain.net.model), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("batch_norm", ["none", "before_activation"])
def test_each_of_the_last_moments_scores_its_share_of_the_images(split: Split, batch_norm: str) -> None:
    from fmnist_sweep.train import Training

    arch = replace(PLAIN, batch_norm=batch_norm)  # type: ignore[arg-type]
    spec = TrainSpec(epochs=1, batch_size=10)  # 101 steps: moments after 26, 51, 76 and 101 of them
    shares = [
        replace(
            split,
            validation_images=split.validation_images[place::4],
            validation_labels=split.validation_labels[place::4],
        )
        for place in range(4)
    ]
    sums = np.zeros(2)
    for step, share in zip((26, 51, 76, 101), shares, strict=True):
        plain = Training(arch, spec, share)
        plain.advance(step / 101)
        sums += np.array(plain.score()[:2]) * len(share.validation_labels)
    steady = Training(arch, spec, split)
    assert steady.advance(0.01, steady=True) is not None  # a single moment
    assert steady.advance(1.0, steady=True) == pytest.approx(sums / len(split.validation_labels), rel=1e-5)


def test_one_graph_serves_every_stretch_of_an_epoch(split: Split) -> None:
    from fmnist_sweep.train import Training

    training = Training(EVERYTHING, TrainSpec(epochs=2, batch_size=10), split)
    for epoch in (0.1, 0.45, 1.0, 1.3, 2.0):
        training.advance(epoch, steady=epoch < 1)
    assert training._steps.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("batch_norm", "share", "floor"),
    [
        ("none", 1e-4, 2e-5),
        ("before_activation", 0.01, 3e-3),
        ("after_activation", 0.01, 3e-3),
        ("after_pooling", 0.01, 3e-3),
    ],
)
def test_one_step_has_the_gradients_of_keras(split: Split, batch_norm: BatchNorm, share: float, floor: float) -> None:
    """With BatchNorm a rounding may decide which of two all but equal values a pooling passes on; the bias
    of a convolution that it follows has a gradient of rounding alone."""
    import keras

    from fmnist_sweep.model import build
    from fmnist_sweep.train import Training

    arch = replace(PLAIN, batch_norm=batch_norm)
    ours = Training(arch, TrainSpec(optimizer="sgd", learning_rate=1.0, batch_size=1010, epochs=1), split)
    start = weights_of(ours.net.model)
    theirs = build(arch).model
    theirs.set_weights(start)
    theirs.compile(optimizer=keras.optimizers.SGD(1.0), loss="sparse_categorical_crossentropy")
    theirs.train_on_batch(split.train_images.astype(np.float32), split.train_labels)
    ours.advance(1.0)
    for before, found, expected in zip(start, weights_of(ours.net.model), weights_of(theirs), strict=True):
        assert np.linalg.norm(found - expected) <= share * np.linalg.norm(expected - before) + floor


@pytest.mark.parametrize(
    "spec",
    [
        TrainSpec(epochs=2, flip=True, shift=2, cutout=3, label_smoothing=0.1),
        TrainSpec(epochs=2, optimizer="adamw", weight_decay=0.01, schedule="one_cycle", batch_size=100),
        TrainSpec(epochs=2, optimizer="sgd", momentum=0.9, schedule="cosine", learning_rate=0.05),
    ],
    ids=["augmented", "one cycle", "momentum"],
)
def test_a_resumed_training_is_the_uninterrupted_one(spec: TrainSpec, split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    points = (0.25, 1.0, 2.0)
    reports: list[Report] = []
    states: list[bytes] = []
    whole = fit(Training(EVERYTHING, spec, split), points, reports.append, states.append, steady_at=(0.25, 1.0))
    assert [report.steady_accuracy is None for report in reports] == [False, False, True]
    for place in (0, 1):
        resumed = Training(EVERYTHING, spec, split)
        assert resumed.restore(states[place])
        later: list[Report] = []
        outcome = fit(resumed, points, later.append, lambda _: None, steady_at=(0.25, 1.0))
        assert [strip(report) for report in later] == [strip(report) for report in reports]
        assert outcome.weights == whole.weights
        assert outcome.progress.best_val_accuracy == whole.progress.best_val_accuracy


def test_a_checkpoint_of_another_net_or_recipe_is_left_alone(split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    states: list[bytes] = []
    fit(Training(PLAIN, TrainSpec(epochs=1), split), (0.5, 1.0), lambda _: None, states.append)
    for arch, spec in ((PLAIN, TrainSpec(epochs=1, seed=1)), (EVERYTHING, TrainSpec(epochs=1))):
        other = Training(arch, spec, split)
        assert not other.restore(states[0])
        assert (other.progress.steps, other.reports) == (0, [])


def test_a_checkpoint_of_an_older_release_has_the_last_report_alone(split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    states, reports = list[bytes](), list[Report]()
    fit(Training(PLAIN, TrainSpec(epochs=1), split), (0.25, 0.5, 1.0), reports.append, states.append)
    with np.load(io.BytesIO(states[1])) as archive:
        older = {name: archive[name] for name in archive.files if name != "net"}
    older["said"] = older["said"][-1]
    buffer = io.BytesIO()
    np.savez(buffer, **older)
    resumed = Training(PLAIN, TrainSpec(epochs=1), split)
    assert resumed.restore(buffer.getvalue())
    assert resumed.reports == [reports[1]]


def test_building_the_graphs_is_no_step(split: Split) -> None:
    from fmnist_sweep.train import Training

    spec = TrainSpec(epochs=1, seed=3)
    prepared, plain = (Training(EVERYTHING, spec, split) for _ in range(2))
    before = [np.array(weight) for weight in prepared.net.model.weights]
    prepared.prepare()
    assert all((np.array(weight) == old).all() for weight, old in zip(prepared.net.model.weights, before, strict=True))
    prepared.advance(0.5)
    plain.advance(0.5)
    for ours, theirs in zip(prepared.net.model.weights, plain.net.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_where_the_last_steps_alone_are_scored_nothing_else_is_and_no_weights_are_kept(split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    points, spec = (0.5, 1.0, 2.0), TrainSpec(epochs=2, seed=5, batch_size=10)
    found: list[list[Report]] = []
    outcomes = []
    for alone in ((), (0.5,)):
        reports, states = list[Report](), list[bytes]()
        training = Training(PLAIN, spec, split)
        outcomes.append(
            fit(training, points, reports.append, states.append, steady_at=(0.5, 2.0), steady_alone_at=alone)
        )
        found.append(reports)
        resumed = Training(PLAIN, spec, split)
        resumed.restore(states[0])
        assert bool(resumed.kept_weights) is not bool(alone)
        again = fit(resumed, points, lambda _: None, lambda _: None, steady_at=(0.5, 2.0), steady_alone_at=alone)
        assert again.weights == outcomes[-1].weights
    both, alone_ = found
    assert both[0].val_accuracy != both[0].steady_accuracy == alone_[0].steady_accuracy == alone_[0].val_accuracy
    assert both[0].val_loss != alone_[0].val_loss
    assert [strip(report) for report in both[1:]] == [strip(report) for report in alone_[1:]]
    assert outcomes[0].weights == outcomes[1].weights
    assert outcomes[1].progress.best_epoch in (1.0, 2.0)


def strip(report: Report) -> Report:
    return replace(report, train_s=0.0, score_s=0.0)


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    def accuracy(seed: int) -> list[float]:
        found: list[Report] = []
        fit(Training(EVERYTHING, TrainSpec(epochs=1, seed=seed), split), (0.5, 1.0), found.append, lambda _: None)
        return [report.val_loss for report in found]

    assert accuracy(1) == accuracy(1)
    assert accuracy(1) != accuracy(2)


def test_points_that_are_one_step_apart_or_less_are_reported_all_the_same(split: Split) -> None:
    """With one batch an epoch, a quarter of one is a whole one."""
    from fmnist_sweep.train import Training, fit

    training, reports = Training(PLAIN, TrainSpec(epochs=2, batch_size=2_000), split), list[Report]()
    fit(training, (0.25, 1.0, 2.0), reports.append, lambda _: None, steady_at=(0.25, 1.0))
    assert [it.images for it in reports] == [1010, 1010, 2020]
    assert all(it.finite and 0 <= it.train_accuracy <= 1 for it in reports)
    first, second, _ = reports
    assert (first.val_accuracy, first.train_loss) == (second.val_accuracy, second.train_loss)
    assert second.steady_accuracy == second.val_accuracy
    assert first.steady_accuracy == first.val_accuracy  # of the net after its one step, not before


def test_a_diverging_training_says_so(split: Split) -> None:
    from fmnist_sweep.train import Training, fit

    training = Training(PLAIN, TrainSpec(epochs=3), split)
    fit(training, (1.0,), lambda _: None, lambda _: None)
    training.net.model.set_weights([np.full_like(weight, np.nan) for weight in training.net.model.get_weights()])
    with pytest.raises(Diverged, match="loss became nan in epoch 2"):
        fit(training, (1.0, 2.0, 3.0), lambda _: None, lambda _: None)


def test_an_early_score_of_batch_norm_is_not_spoilt_by_the_starting_averages(split: Split) -> None:
    """After few steps Keras' averages are mostly the values they started from."""
    from fmnist_sweep.train import Training

    training = Training(replace(PLAIN, batch_norm="before_activation"), TrainSpec(epochs=1), split)
    training.advance(1.0)  # 32 steps: 0.99 ** 32 = 0.72 of the starting values are left
    _, settled, weights = training.score()
    kept = training.net.model.get_weights()
    loss, correct = training._scored(training.net.model.get_weights(), 0, 1)
    raw = correct / 500
    assert settled > raw + 0.02
    assert all(np.array_equal(a, b) for a, b in zip(kept, training.net.model.get_weights(), strict=True))
    assert math.isfinite(loss)
    assert len(weights) == len(kept)


def test_worker_trains_from_its_checkpoint(source: DataSource, tmp_path: Path) -> None:
    from fmnist_sweep.trial import TrialJob, run_trial

    prepared = datasets.prepare(source, tmp_path / "data", train_images=500)
    job = TrialJob("trial-0000", PLAIN, TrainSpec(epochs=2), (1.0, 2.0), prepared, tmp_path / "job")

    class Stopped(Exception):  # noqa: N818
        pass

    first: list[Report] = []

    def stop(report: Report) -> None:
        first.append(report)
        raise Stopped

    with pytest.raises(Stopped):
        run_trial(job, stop)
    heard: list[Report] = []
    result = run_trial(job, heard.append)
    assert [report.place for report in heard] == [0, 1]  # the first again, as it may never have been heard
    assert heard[0] == first[0]  # its seconds too: nothing was trained again
    assert result.images == 1000
    assert result.weights_sha256
    assert job.weights.exists()


def test_the_last_epochs_weights_are_kept_where_they_are_asked_for(split: Split) -> None:
    from fmnist_sweep import model as nets
    from fmnist_sweep.train import Training, fit

    training = Training(PLAIN, TrainSpec(epochs=3, optimizer="sgd", learning_rate=2.0), split)  # up and down
    outcome = fit(training, (1.0, 2.0, 3.0), lambda _: None, lambda _: None, keep="last")
    assert outcome.progress.best_epoch < 3  # else the best would be the same
    kept = nets.weights_from_bytes(outcome.weights)
    assert all(np.array_equal(a, b) for a, b in zip(kept, training.net.model.get_weights(), strict=True))
