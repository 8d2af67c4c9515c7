"""Sweep files: what a good one means, and that a bad one is answered with all its mistakes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep import config
from fmnist_sweep.errors import ConfigError, UsageError
from fmnist_sweep.schema import Domain, Engine, SweepConfig
from fmnist_sweep.space import RandomSuggest, sample
from fmnist_sweep.study import with_engine
from tests.strategies import CALM, GARBAGE, KEYS, toml

GOOD: dict[str, Any] = {
    "title": "A sweep",
    "study": {"trials": 7, "sampler": "random", "startup_trials": 3, "keep_models": 2},
    "fidelity": {"pruner": "median", "rungs": [0.25, 1, 2], "reduction": 2},
    "lab": {"variants": ["lab-cnn3", "lab-mlp"]},
    "limits": {"parameters": 100_000, "flops": 10_000_000},
    "data": {"train_images": 6000},
    "space": {
        "depth": {"low": 1, "high": 2},
        "filters": {"choices": [8, 16], "per": "block"},
        "dropout": {"low": 0.0, "high": 0.5, "step": 0.25},
        "kernel_size": [5, 3],
        "batch_norm": "before_activation",
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "epochs": 3,
    },
    "cases": {"plain": {"bn_logits": False}, "logits": {"bn_logits": True}},
}
START = 'title = "t"\n[space]\n'


def parse(data: dict[str, Any]) -> SweepConfig:
    return config.parse("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in data.items()), "my.toml")


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "my.toml")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"my.toml: {len(caught.value.mistakes)} mistake")
    return caught.value.mistakes


def test_a_good_file() -> None:
    sweep = parse(GOOD)
    assert (sweep.study.trials, sweep.study.sampler, sweep.fidelity.rungs) == (7, "random", [0.25, 1, 2])
    assert (sweep.limits.parameters, sweep.data.train_images, sweep.lab.variants[1]) == (100_000, 6000, "lab-mlp")
    assert sweep.space["depth"] == Domain(low=1, high=2)
    assert sweep.space["filters"] == Domain(choices=[8, 16], per="block")
    assert (sweep.space["kernel_size"], sweep.space["epochs"]) == ([5, 3], 3)
    assert sweep.cases == GOOD["cases"]


def test_all_but_the_title_and_the_space_has_defaults() -> None:
    sweep = config.parse(START, "my.toml")
    assert (sweep.study.trials, sweep.study.sampler, sweep.lab.variants, sweep.cases) == (50, "tpe", ["all"], {})
    assert (sweep.limits.parameters, sweep.data.train_images, sweep.epochs) == (None, None, 5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[space]", r"title: missing"),
        ('title = "t"', r"space: missing"),
        ('title = ""\n[space]', r"title is ''; string should have at least 1 character"),
        (START + "[study]\ntrials = 0", r"study.trials is 0; .*greater than or equal to 1"),
        (START + "[study]\ntrials = true", r"study.trials is True; .*integer"),
        (START + '[study]\nsampler = "tp"', r"study.sampler is 'tp'; .*'tpe', 'gp', 'random' or 'grid'"),
        (START + '[fidelity]\npruner = "hyperband"', r"fidelity.pruner is 'hyperband'; .*'asha', 'median' or 'none'"),
        (START + "[fidelity]\nrungs = [2, 1]", r"fidelity: rungs is \[2.0, 1.0\]; valid: ascending"),
        (START + "[fidelity]\nrungs = [0]", r"fidelity: rungs is \[0.0\]; valid: ascending numbers above 0"),
        (START + "[fidelity]\nrungs = [1.5]", r"fidelity: rungs is \[1.5\]; valid above 1: whole epochs"),
        (START + "[fidelity]\nrungs = [inf]", r"fidelity: rungs is \[inf\]; valid"),
        (START + "[fidelity]\nrungs = [nan]", r"fidelity: rungs is \[nan\]; valid"),
        (START + "[fidelity]\nreduction = 1", r"fidelity.reduction is 1; .*greater than or equal to 2"),
        (START + "[limits]\nflops = -1", r"limits.flops is -1; "),
        (START + '[lab]\nvariants = ["lab-cn3"]', r"lab.variants: 'lab-cn3' .*'lab-cnn3'\?\); valid: all, lab-cnn1"),
        (START + "[studdy]", r"studdy: unknown key \(did you mean 'study'\?\); valid: title, study"),
        (
            START + "[study]\ntrial = 1",
            r"study.trial: unknown key \(did you mean 'trials'\?\); valid: trials, engine, sampler",
        ),
        (START + "[study]\nvalue = 1", r"study.value: unknown key.*; valid: trials, engine, sampler"),
        (START + "[blocks]", r"blocks: unknown key.*; valid: title, study"),
        (START + "filter = 8", r"space.filter: unknown key \(did you mean 'filters'\?\); valid: depth, filters"),
        (START + "filters = 4", r"space.filters: filters is 4; valid: a whole number from 8 to 256"),
        (START + "filters = { choices = [8, 4] }", r"space.filters: filters is 4; valid"),
        (START + "dropout = { low = 0.0, high = 1.5 }", r"space.dropout: dropout is 1.5; valid: a number from 0"),
        (START + "learning_rate = 1" + "0" * 400, r"space.learning_rate: learning_rate is 10+; valid"),
        (START + "depth = 5", r"space.depth: depth is 5; valid: a whole number from 0 to 4"),
        (START + "dense_units = false", r"space.dense_units: dense units is False; valid"),
        (START + 'head = "gap"', r"space.head: head is 'gap'; valid: 'flatten', 'global_average'"),
        (START + 'flip = "yes"', r"space.flip: flip is 'yes'; valid: true, false"),
        (START + "kernel_size = { low = 1, high = 5 }", r"space.kernel_size.*valid: 1, 3, 5, 7"),
        (
            START + "depth = { low = 2, hi = 3 }",
            r"space.depth.hi: unknown key \(did you mean 'high'\?\); valid: choices",
        ),
        (START + "depth = { low = 2 }", r"space.depth: a range needs both low and high"),
        (START + "depth = { low = 3, high = 2 }", r"space.depth: low is 3, above high, 2"),
        (START + "depth = {}", r"space.depth: give either choices = \[...\] or low and high"),
        (START + "depth = { choices = [1], low = 1, high = 2 }", r"space.depth: give either"),
        (START + "depth = { choices = [] }", r"space.depth: choices is empty"),
        (START + "depth = { choices = [1], step = 1 }", r"space.depth: step and log belong to a range"),
        (START + "dropout = { low = 0, high = 0.5, log = true }", r"space.dropout: a log range needs low above 0"),
        (START + "depth = { low = 1, high = 2, step = 0 }", r"space.depth: step is 0; valid: above 0"),
        (START + "dropout = { low = 0.0, high = 0.5, step = nan }", r"space.dropout.*step is nan; "),
        (START + "filters = { low = 8, high = 16, step = 0.5 }", r"space.filters.*[08]\.5"),
        (START + "depth = { low = 2, high = 2, step = 0.5 }", r"space.depth.step: 0.5 is no whole number; valid: 1 or"),
        (START + 'seed = { choices = [1], per = "block" }', r"space.seed.per: 'block' is for filters, .*'net'"),
        (START + "epochs = [1, 2]", r"space.epochs: a list is for filters, .*; valid here: one value or a table"),
        (START + "depth = 3\nfilters = [8, 8]", r"space.filters: 2 values for up to 3 blocks; valid: a value for each"),
        (START + "depth = 1\nfilters = [8]\n[cases.a]\ndepth = 2", r".*filters: 1 values for up to 2 blocks; valid"),
        (START + "[cases.a]\nhead = 1", r"cases.a.head: head is 1; valid: 'flatten', 'global_average'"),
        (START + "[cases.a]\nhaed = 1", r"cases.a.haed: unknown key \(did you mean 'head'\?\); valid"),
        (
            START + '[fidelity]\npruner = "none"\nfull_training = "at_end"',
            r"fidelity: full_training is 'at_end' with pruner 'none'; valid: with pruner 'asha' alone",
        ),
        (START + '[fidelity]\nfull_training = "last"', r"fidelity.full_training is 'last'; .*'at_once' or 'at_end'"),
        ("title =\n[space]", r"not TOML: .*line 1"),
        (START + "depth = 1\ndepth = 2\n[lab]", r"not TOML: .*line 4"),
        (START + "epochs = 1" + "0" * 5000, r"not TOML: .*digits"),
        ("x = " + "[" * 5000, r"not TOML: .*"),
    ],
    ids=lambda text: text.removeprefix(START)[:40],
)
def test_each_mistake_has_one_line(text: str, line: str) -> None:
    (found,) = mistakes(text)
    assert re.match(line, found), found


@pytest.mark.parametrize("entry", ["2020-01-01", '{ low = "a", high = 2 }', "{ choices = [[1]] }"])
def test_a_value_of_a_wrong_kind_is_one_mistake(entry: str) -> None:
    assert len(mistakes(START + f"depth = {entry}")) == 1


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(
        """
        titel = "t"
        [study]
        trials = 0
        [lab]
        variants = ["lab-cnn9", "mlp"]
        [space]
        depth = { choices = [1, 9, 7] }
        colour = "red"
        """
    )
    keys = [line.partition(":")[0].partition(" is ")[0] for line in found]
    both = ["lab.variants"] * 2
    assert sorted(keys) == sorted(
        ["title", "titel", "study.trials", *both, "space.depth", "space.depth", "space.colour"]
    )


# Finding the file


def test_by_name_and_by_path(tmp_path: Path) -> None:
    name, sweep = config.load("tiny")
    assert (name, sweep.limits.parameters) == ("tiny", 100_000)
    assert config.load(str(config.folder() / "tiny.toml")) == ("tiny", sweep)
    (tmp_path / "mine").write_text(START, encoding="utf-8")
    assert config.load(f"{tmp_path}/mine")[0] == "mine"


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("tinny", r"--sweep tinny: No such file .*did you mean 'tiny'\?.*; valid: accuracy, .*, or a .toml file"),
        ("no/such.toml", r"--sweep no/such.toml: No such file"),
        ("/", r"--sweep /: Is a directory"),
        ("", r"--sweep : No such file"),
    ],
)
def test_no_such_sweep(sweep: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        config.load(sweep)
    assert caught.value.exit_code == 2


def test_files_that_are_no_text_or_no_sweep(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b'title = "\xff"')
    with pytest.raises(ConfigError, match=rf"{path}: 1 mistake\n  not text in UTF-8"):
        config.load(str(path))
    path.write_text("[space", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{path}: 1 mistake\n  not TOML"):
        config.load(str(path))


# What is asked of a sweep


def test_changed_fixes_keys_and_leaves_the_original() -> None:
    sweep = parse(GOOD)
    changed = sweep.changed(epochs=9, learning_rate=None, seed=4)
    assert changed.space == {**sweep.space, "epochs": 9, "seed": 4}
    assert (changed.title, sweep.space["epochs"]) == (sweep.title, 3)


def test_changed_fixes_the_epochs_of_cases_too_and_no_other_key_of_theirs() -> None:
    sweep = parse({**GOOD, "cases": {"short": {"epochs": 2, "precision": "float32"}, "plain": {"bn_logits": True}}})
    changed = sweep.changed(epochs=9, precision="mixed_bfloat16")
    assert changed.cases == {"short": {"epochs": 9, "precision": "float32"}, "plain": {"bn_logits": True}}
    assert (changed.epochs, sweep.cases["short"]["epochs"]) == (9, 2)


@pytest.mark.parametrize("name", ["default", "accuracy", "tiny"])
@pytest.mark.parametrize("engine", ["optuna", "keras-tuner-random", "keras-tuner-bayesian", "keras-tuner-hyperband"])
def test_a_shipped_sweep_by_any_engine_is_one_that_a_later_run_can_read(name: str, engine: Engine) -> None:
    changed = with_engine(config.load(name)[1], engine)
    assert SweepConfig.model_validate(json.loads(changed.model_dump_json())) == changed


@pytest.mark.parametrize(
    ("entry", "epochs"),
    [("3", 3), ("{ choices = [2, 8, 4] }", 8), ("{ low = 1, high = 7 }", 7), ("4\n[cases.long]\nepochs = 9", 9)],
)
def test_epochs_are_those_of_the_longest_trial(entry: str, epochs: int) -> None:
    assert config.parse(START + f"epochs = {entry}", "my.toml").epochs == epochs


# Anything at all in a file: it parses and can be drawn from, or all that is raised is a ConfigError


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested tables and lists."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from places(value)


@settings(CALM, max_examples=300)
@given(st.data())
def test_garbage_anywhere_is_a_usable_sweep_or_a_config_error(data: st.DataObject) -> None:
    content = copy.deepcopy(GOOD)
    node, key = data.draw(st.sampled_from(list(places(content))))
    if isinstance(node, dict):
        key = data.draw(st.just(key) | KEYS)
    node[key] = data.draw(GARBAGE)
    with suppress(ConfigError):
        sweep = parse(content)
        assert sweep.epochs > 0
        sample(sweep, RandomSuggest(0), input_shape=(28, 28, 1), classes=10)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("low = 0.0, high = 0.5, step = 0.9", "step is 0.9; valid: above 0, up to the width of the range"),
        ("low = 0.0, high = 0.5, step = 0.000001", "makes 500,001 values; valid: up to 10,000, or no step"),
    ],
)
def test_a_step_that_leaves_one_value_or_far_too_many_is_refused(values: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config.parse(f'title = "t"\n[space]\ndropout = {{ {values} }}\n', "t")


@pytest.mark.parametrize(
    "line",
    [
        "dropout = { low = 0.5, high = 0.5, step = 0.1 }",
        "dropout = { low = 0.1, high = 0.3, step = 0.2 }",  # which is 0.19999999999999998 wide
        "dropout = { low = 0, high = 0.5, step = 0.00005 }",
        "seed = { low = 0, high = 2147483647 }",
    ],
)
def test_a_range_of_one_value_of_two_or_of_all_seeds_is_a_range(line: str) -> None:
    config.parse(f'title = "t"\n[space]\n{line}\n', "t")
