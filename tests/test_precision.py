"""Precision that a sweep leaves open: probed once, recorded, and the study's from then on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from fmnist_sweep import config, session
from fmnist_sweep.errors import ConfigError
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan
from tests import stand_ins
from tests.conftest import Cli

SWEEP = """
title = "open"
study = { trials = 2 }
fidelity = { pruner = "none" }
[space]
depth = 1
filters = 8
dropout = { low = 0.0, high = 0.5, step = 0.125 }
epochs = 1
precision = "auto"
"""


@pytest.mark.parametrize(("gain", "chosen"), [(0.4, "float32"), (1.05, "float32"), (1.3, "mixed_bfloat16")])
def test_bfloat16_where_it_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str) -> None:
    monkeypatch.setattr(session, "call", lambda *_args, **_named: gain)
    folder, said = StudyFolder(tmp_path / "study"), list[str]()
    folder.path.mkdir()
    planned = Plan("open", "open", config.parse(SWEEP, "open.toml"), 0)
    data = stand_ins.prepared(tmp_path / "data")
    with closing(Ledger(folder.ledger)) as ledger:
        fixed = session._with_precision(planned, data, ledger, folder, said.append)
        assert fixed.config.space["precision"] == chosen
        assert said == [f"precision {chosen}: bfloat16 trains {gain:.2f} times as fast as float32 here"]
        ledger.append("study", config=fixed.config.model_dump(mode="json"))
        monkeypatch.setattr(session, "call", None)  # a known study is not probed again
        assert session._with_precision(planned, data, ledger, folder, said.append) == fixed
    assert len(said) == 1


def test_the_gain_is_how_many_times_as_fast_bfloat16_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from fmnist_sweep import precision

    for kind in ("intra", "inter"):  # which a process may set but once, as that of the probe does
        monkeypatch.setattr(tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda _: None)
    monkeypatch.setattr(precision, "Training", lambda _arch, spec, _split: spec.precision)
    seconds = {"float32": [3.0, 2.0, 4.0], "mixed_bfloat16": [1.0, 2.0, 2.0]}
    monkeypatch.setattr(precision, "in_turns", lambda sides, _: [seconds[side] for side in sides])
    net = stand_ins.proposals()[0]
    assert precision.gain(net.arch, net.train) == 2.0


def test_auto_is_for_the_space_as_a_whole() -> None:
    for precision in ('{ choices = ["auto", "float32"] }', '"Auto"'):
        with pytest.raises(ConfigError, match=r"precision is '[Aa]uto'; valid: 'float32', 'mixed_bfloat16'"):
            config.parse(SWEEP.replace('"auto"', precision), "open.toml")


@pytest.mark.slow
def test_a_study_probes_the_machine_and_goes_on_with_what_it_found(real_cli: Cli) -> None:
    (real_cli.folder / "open.toml").write_text(SWEEP)
    words = ("run", "--sweep", "open.toml", "--no-lab", "--train-images", "640", "--home", "home")
    begun = real_cli.run(*words)
    assert begun.returncode == 0, begun.stderr
    assert "bfloat16 trains" in begun.stdout + begun.stderr
    gone_on = real_cli.run(*words, "--trials", "3")
    assert gone_on.returncode == 0, gone_on.stderr
    assert "bfloat16 trains" not in gone_on.stdout + gone_on.stderr
    with closing(Ledger(real_cli.folder / "home" / "studies" / "open" / "ledger.db")) as ledger:
        state = StudyState.of(ledger.events())
    chosen = state.study["config"]["space"]["precision"]
    assert chosen in ("float32", "mixed_bfloat16")
    assert [job.train.precision for job in state.trials("complete")] == [chosen] * 3
