"""``preview``: a sweep's nets and cost, before anything is trained and without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli


def test_preview_shows_nets_sizes_time_and_what_to_type(cli: Cli) -> None:
    done = cli.run("preview", changes={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stderr.split())
    for words in ("about 144,030 configurations", "none is over a limit", "parameters MFLOP memory an epoch"):
        assert words in text
    assert sum(line.rstrip().endswith((" s", " min")) and " MB " in line for line in done.stderr.splitlines()) == 10
    assert "50 trials and the lab's nets: about " in text
    assert " for the trials and " in text
    assert done.stderr.splitlines()[-1].strip() == "python -m fmnist_sweep run --trials 50"
    assert max(len(line) for line in done.stderr.splitlines()) <= 80


def test_the_share_over_a_sweeps_limits_is_told(cli: Cli) -> None:
    found = cli.json("preview", "--sweep", "tiny", "--trials", "9", "--samples", "3")
    assert 0 < found["over_limits"] < 1
    assert len(found["nets"]) == 3
    assert all(net["parameters"] <= 100_000 for net in found["nets"])
    assert found["trials"] == 9
    assert found["estimate"]["total_s"] >= found["estimate"]["trials_s"] > 0


@pytest.mark.parametrize("words", [["preview"], ["preview", "--sweep", "accuracy", "--json"]])
def test_preview_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    heavy = ("tensorflow", "keras", "mlflow", "ray", "pandas", "sklearn", "plotly")
    code = (
        "import sys; from fmnist_sweep import cli\n"
        "try: cli.main()\n"
        f"finally: print('LOADED', *(name for name in {heavy} if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, *words, "--home", str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
