"""The shipped sweeps: each one parses, draws valid nets, and is what its title says."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_sweep import arithmetic, config, lab
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.schema import TRAIN_KEYS, Domain
from fmnist_sweep.space import RandomSuggest, configurations, sample
from tests.conftest import Cli

SHAPE = (28, 28, 1)
NAMES = ["accuracy", "batchnorm", "default", "smoke", "tiny"]
DRAWS = 50


def draws(name: str, count: int = DRAWS) -> list[tuple[ArchSpec, TrainSpec]]:
    _, sweep = config.load(name)
    return [sample(sweep, RandomSuggest(seed), input_shape=SHAPE, classes=10) for seed in range(count)]


def test_these_are_shipped() -> None:
    assert config.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run(name: str) -> None:
    _, sweep = config.load(name)
    found = draws(name)
    assert len({fingerprint(arch, train) for arch, train in found}) > 1
    assert {train.epochs for _, train in found} == {sweep.epochs}
    assert sweep.fidelity.pruner == "none" or max(sweep.fidelity.rungs) < sweep.epochs
    assert sweep.study.startup_trials <= sweep.study.trials
    lab.check_names(sweep.lab.variants)


def test_a_fair_share_of_tiny_is_within_its_limit() -> None:
    _, sweep = config.load("tiny")
    assert sweep.limits.parameters == 100_000
    within = [arch for arch, _ in draws("tiny", 200) if arithmetic.cost(arch).parameters <= 100_000]
    assert 0.4 < len(within) / 200 < 0.99  # neither idle nor so tight that drawing takes long


def test_default_is_the_labs_protocol_and_searches_the_net_alone() -> None:
    _, sweep = config.load("default")
    searched = {key for key, entry in sweep.space.items() if isinstance(entry, Domain)}
    assert searched
    assert not searched & set(TRAIN_KEYS)
    assert {train for _, train in draws("default")} == {lab.PROTOCOL}
    assert TrainSpec(optimizer="adam", learning_rate=0.001, batch_size=32, epochs=5) == lab.PROTOCOL


def test_the_ablation_is_four_nets_by_six_seeds_with_all_else_equal() -> None:
    _, sweep = config.load("batchnorm")
    found = list(configurations(sweep, input_shape=SHAPE, classes=10))
    assert len(found) == len({fingerprint(arch, train) for arch, train, _ in found}) == sweep.study.trials == 24
    nets: dict[str, set[ArchSpec]] = {}
    for arch, _, drawn in found:
        nets.setdefault(str(drawn["case"]), set()).add(arch)
    assert {case: len(archs) for case, archs in nets.items()} == {"none": 1, "before": 1, "after": 1, "logits-too": 1}
    assert {(drawn["case"], train.seed) for _, train, drawn in found} == {(case, s) for case in nets for s in range(6)}
    assert {train.with_seed(0) for _, train, _ in found} == {lab.PROTOCOL}

    variants = {variant.name: variant for variant in lab.variants(input_shape=SHAPE, classes=10)}
    plain, intended = variants["lab-cnn3"], variants["lab-cnn3-bn-as-intended"]
    off = [replace(arch, batch_norm="none", bn_dense=False, bn_logits=False) for arch, _, _ in found]
    assert set(off) == {plain.arch}
    (none,), (everywhere,) = nets["none"], nets["logits-too"]
    assert fingerprint(none, lab.PROTOCOL) == fingerprint(plain.arch, plain.train)
    assert everywhere == intended.arch
    assert arithmetic.cost(everywhere).parameters == 691_122


def test_the_list_says_which_have_a_study_in_the_home_folder(cli: Cli) -> None:
    assert [it["begun"] for it in cli.json("sweeps", "--home", "home")["sweeps"]] == [False] * len(NAMES)
    folder = cli.folder / "home" / "studies" / "tiny"
    folder.mkdir(parents=True)
    (folder / "ledger.db").touch()
    begun = {it["name"]: it["begun"] for it in cli.json("sweeps", "--home", "home")["sweeps"]}
    assert begun == {name: name == "tiny" for name in NAMES}
    assert "studies of these names in home: tiny" in cli.run("sweeps", "--home", "home").stderr


@pytest.mark.slow
def test_a_wheel_has_the_sweeps_and_finds_them(tmp_path: Path) -> None:
    source = Path(config.__file__).parent.parent
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "from fmnist_sweep import config; print(config.folder(), *config.names()); config.load('default')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "fmnist_sweep" / "sweeps"), *NAMES]
