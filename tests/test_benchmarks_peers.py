"""What a sweep is compared with: the peers do the same work, and what is said of them is counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest

from benchmarks import sweep
from benchmarks.options import Options
from benchmarks.peers import keras_tuner_fit, natural, optuna_fit
from benchmarks.peers.task import PeerTrial, sampled
from benchmarks.record import Record
from benchmarks.sweep_tables import best_after, summed_up
from fmnist_sweep import config, lab, model, space
from fmnist_sweep.arch import ArchSpec, BlockSpec
from fmnist_sweep.data import FASHION_MNIST, PreparedData
from fmnist_sweep.errors import UsageError

SHAPE, CLASSES = FASHION_MNIST.image_shape, len(FASHION_MNIST.class_names)


# --- the peers do the same work


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab-cnn1", "lab-cnn3-bn-as-intended", "after", "pooled"])
def test_the_natural_net_is_the_products(name: str) -> None:
    import keras

    blocks = (
        BlockSpec(8, dropout=0.25),
        BlockSpec(16, convs=2, pooling="average"),
        BlockSpec(8, convs=2, pool_after="first"),
    )
    others = {
        "after": ArchSpec(SHAPE, CLASSES, blocks, "after_activation", head="global_average"),
        "pooled": ArchSpec(SHAPE, CLASSES, blocks, "after_pooling", True, dense=(32,), dense_dropout=0.5),
    }
    arch = others.get(name) or lab.variants([name], input_shape=SHAPE, classes=CLASSES)[0].arch
    theirs, ours = natural.compiled(arch), model.build(arch).model
    assert [weight.shape for weight in theirs.weights] == [weight.shape for weight in ours.weights]
    drops = [[layer.rate for layer in net.layers if isinstance(layer, keras.layers.Dropout)] for net in (theirs, ours)]
    assert drops[0] == drops[1]
    rng = np.random.default_rng(0)
    theirs.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in theirs.weights])
    ours.set_weights(theirs.get_weights())
    pixels = rng.integers(0, 256, (6, *SHAPE)).astype("float32")
    np.testing.assert_allclose(
        theirs.predict_on_batch(pixels / 255), ours.predict_on_batch(pixels), rtol=1e-3, atol=1e-5
    )


class _Noting:
    """Draws at random, and notes what it was offered."""

    def __init__(self) -> None:
        self._drawn = random.Random(0)
        self.offered: dict[str, list[Any]] = {}

    def choice(self, name: str, choices: Sequence[Any]) -> Any:
        self.offered[name] = list(choices)
        return self._drawn.choice(choices)

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:  # noqa: ARG002
        return int(self.choice(name, range(low, high + 1, step)))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:  # noqa: ARG002
        assert step
        return float(self.choice(name, [low + step * turn for turn in range(round((high - low) / step) + 1)]))


def test_the_peers_offer_the_products_values() -> None:
    ours = _Noting()
    while len(ours.offered) < 10:
        space.sample(config.load("default")[1], ours, input_shape=SHAPE, classes=CLASSES)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    theirs: dict[str, list[Any]] = {}
    hp = keras_tuner.HyperParameters()
    for _ in range(20):
        trial = study.ask()
        sampled(optuna_fit.Suggest(trial))
        for name, domain in trial.distributions.items():
            found = getattr(domain, "choices", None)
            theirs[name] = list(found or np.arange(domain.low, domain.high + domain.step / 2, domain.step))  # type: ignore[attr-defined]
        sampled(keras_tuner_fit.Suggest(hp))
        hp.values = {one.name: one.random_sample(seed=len(hp.values) + _) for one in hp.space}
    assert theirs == ours.offered
    kept = {one.name: one.values if hasattr(one, "values") else [] for one in hp.space}
    assert {name: list(values) for name, values in kept.items()} == ours.offered


# --- the sweep


def _trial(began: float, ended: float, accuracy: float, state: str = "complete", filters: int = 8) -> PeerTrial:
    arch = ArchSpec(SHAPE, CLASSES, (BlockSpec(filters),))
    epoch = {"train_s": 2.0, "whole_s": 3.0, "val_accuracy": accuracy}
    return PeerTrial.of(arch, began, ended, state, [epoch])


def test_a_peers_time_is_that_of_its_sessions_without_the_pauses() -> None:
    lines: list[dict[str, Any]] = [
        {"session": 100.0},
        {"trial": {"ended": 110.0}},  # and another, cut short
        {"session": 1000.0},
        {"trial": {"ended": 1020.0}},
        {"session_ended": 1021.0},
    ]
    assert sweep.elapsed(lines) == (31.0, [10.0, 30.0])
    assert sweep.elapsed([]) == (0.0, [])


def test_a_peers_side_counts_what_was_run_and_says_what_is_extrapolated() -> None:
    trials = [_trial(0, 10, 0.8), _trial(10, 20, 0.9, "pruned"), _trial(20, 30, 0.85, filters=16)]
    short = _trial(0, 10, 0.86, "short")
    led = sweep.of_peer([*trials, short], 33.0, [11.0, 21.0, 31.0, 32.0], stopped=False)
    assert (led["complete"], led["champion"]["val_accuracy"]) == (2, 0.86)  # put forward, though not trained in full
    side = sweep.of_peer(trials, 33.0, [11.0, 21.0, 31.0], stopped=True)
    assert (side["trials"], side["complete"], side["configurations"], side["epochs"]) == (3, 2, 2, 3)
    assert side["champion"]["val_accuracy"] == 0.85  # what was pruned is no champion
    assert best_after(side, 11.0) == (1, 0.8)
    assert best_after(side, 10.0) == (0, None)
    ours = {**side, "trials": 6, "stopped": False, "in_one_go": True}
    for one in (ours, side):
        one["retrained"] = {"last": [0.8, 0.9], "best": [0.9, 0.9], "steady": [0.85, 0.9]}
    sides = {"ours": [ours], "peer": [side]}
    text = summed_up(sides, "ours", {"epochs": 1, "train_images": 10, "trials": 6}, quick=False).tables[0].markdown()
    assert "| peer (stopped) | 3 |" in text
    assert "1 min 06 s (extrapolated)" in text
    assert text.count("extrapolated") == 1
    with pytest.raises(UsageError, match="no trial in its time"):
        sweep.of_peer(trials[1:2], 10.0, [10.0], stopped=True)


def test_of_several_studies_a_side_each_is_told_and_compared_with_that_of_its_seed() -> None:
    side = sweep.of_peer([_trial(0, 10, 0.8)], 10.0, [10.0], stopped=False)
    retrained = {"last": [0.8], "best": [0.9], "steady": [0.85]}
    better = {**retrained, "steady": [0.87]}
    ours = [{**side, "wall_s": 1.0, "retrained": retrained}, {**side, "wall_s": 4.0, "retrained": better}]
    theirs = [{**side, "wall_s": 2.0, "retrained": retrained}, {**side, "wall_s": 32.0, "retrained": retrained}]
    result = summed_up({"ours": ours, "peer": theirs}, "ours", {"epochs": 1, "train_images": 10, "trials": 1}, False)
    together, times, champions, _ = result.tables
    assert together.rows[0] == ("ours", "2", "2 s", "", "86.00 ± 1.41 (85.00 to 87.00)")
    assert together.rows[1][2:4] == ("17 s", "4.00 (2.00 to 8.00)")
    assert [row[0] for row in times.rows] == ["ours, seed 0", "ours, seed 1", "peer, seed 0", "peer, seed 1"]
    assert [row[7] for row in times.rows] == ["1.00", "1.00", "2.00", "8.00"]
    assert [row[2] for row in champions.rows] == ["85.00", "87.00", "85.00", "85.00"]
    assert "2 studies of each side" in result.about


@pytest.mark.parametrize(("limit_s", "goes_on"), [(20.0, False), (60.0, True), (None, True)])
def test_a_peer_that_was_stopped_goes_on_once_it_has_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_s: float | None, goes_on: bool
) -> None:
    monkeypatch.setattr(sweep, "peer", lambda *_: {"wall_s": 50.0, "stopped": False})
    record = Record(tmp_path / "sweep.jsonl", {})
    record.add("optuna, 50 trials", {"wall_s": 29.0, "limit_s": 30.0, "stopped": True})
    data = PreparedData(tmp_path / "i", tmp_path / "l", SHAPE, FASHION_MNIST.class_names, "")
    options, chosen = Options(out=tmp_path, peer_limit_s=limit_s), {"trials": 50, "epochs": 5}
    found = sweep._peer("optuna", options, chosen, data, tmp_path, 0, record)
    assert found["stopped"] is not goes_on
    assert record.known("optuna, 50 trials") == found
