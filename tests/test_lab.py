"""The command that trains the lab's nets alone."""

from __future__ import annotations

import pytest

from fmnist_sweep.home import Home
from fmnist_sweep.views.mlflow_client import connect
from tests.conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_nets_that_come_later_show_the_model_of_the_net_that_they_are(real_cli: Cli) -> None:
    small = ("--home", "home", "--train-images", "1000", "--epochs", "1", "--workers", "1")
    first = real_cli.json("lab", "--variants", "lab-cnn3", *small)
    both = real_cli.json("lab", "--variants", "lab-cnn3,lab-cnn3-bn-as-written", *small)
    assert list(first["lab"]) == ["lab-cnn3"]
    runs = {name: net["run_id"] for name, net in both["lab"].items()}
    client = connect(Home(real_cli.folder / "home").mlflow_uri)
    models = {name: client.get_run(run).outputs.model_outputs for name, run in runs.items()}
    assert [output.model_id for output in models["lab-cnn3-bn-as-written"]] == [
        output.model_id for output in models["lab-cnn3"]
    ]
    assert real_cli.run("doctor", "--home", "home").returncode == 0
