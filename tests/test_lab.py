"""The command that trains the lab's nets alone."""

from __future__ import annotations

from collections import Counter

import pytest

from fmnist_sweep import lab
from fmnist_sweep.errors import SpecError
from fmnist_sweep.home import Home
from fmnist_sweep.views.mlflow_client import connect
from tests.conftest import Cli

SLOW = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_each_net_is_there_under_each_seed_and_the_firsts_keep_their_names() -> None:
    found = lab.seeded(["lab-cnn1", "lab-mlp"], range(5, 8), input_shape=(28, 28, 1), classes=10, epochs=2)
    assert Counter(it.train.seed for it in found) == {5: 2, 6: 2, 7: 2}
    names = ["lab-cnn1", "lab-mlp", "lab-cnn1-seed6", "lab-mlp-seed6", "lab-cnn1-seed7", "lab-mlp-seed7"]
    assert sorted(it.name for it in found) == sorted(names)
    assert {it.train.epochs for it in found if it.name.startswith("lab-cnn1")} == {2}


def test_many_epochs_are_no_hindrance_to_nets_that_do_not_take_ten_times_as_many() -> None:
    shape = {"input_shape": (28, 28, 1), "classes": 10, "epochs": 1_001}
    assert [it.train.epochs for it in lab.variants(["lab-cnn1"], **shape)] == [1_001]  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="epochs is 10010"):
        lab.variants(["lab-mlp"], **shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--epochs", "1001"), "error: epochs is 10010; valid: a whole number from 1 to 10000"),
        (("--variants", "lab-cn1"), "error: lab variant 'lab-cn1' is unknown; valid: all, lab-cnn1"),
    ],
)
def test_what_cannot_be_trained_begins_no_study(cli: Cli, words: tuple[str, ...], line: str) -> None:
    done = cli.run("lab", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert not (cli.folder / "fmnist_runs").exists()


class TestCommand:
    pytestmark = SLOW

    def test_nets_that_come_later_show_the_model_of_the_net_that_they_are(self, real_cli: Cli) -> None:
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

    def test_it_goes_on_with_the_epochs_that_its_nets_have(self, real_cli: Cli) -> None:
        first = real_cli.json(
            "lab", "--variants", "lab-cnn1", "--epochs", "1", "--train-images", "500", "--home", "home"
        )
        again = real_cli.json("lab", "--variants", "lab-cnn1,lab-cnn3", "--seeds", "2", "--home", "home")
        assert set(again["lab"]) == {"lab-cnn1", "lab-cnn3", "lab-cnn1-seed1", "lab-cnn3-seed1"}
        assert again["lab"]["lab-cnn1"] == first["lab"]["lab-cnn1"]
        client = connect(Home(real_cli.folder / "home").mlflow_uri)
        assert {client.get_run(net["run_id"]).data.params["epochs"] for net in again["lab"].values()} == {"1"}

    def test_it_trains_beside_any_study_and_leaves_what_that_was_asked_for(self, real_cli: Cli) -> None:
        small = ("--train-images", "500", "--epochs", "1", "--home", "home")
        real_cli.json("run", "--sweep", "smoke", "--trials", "2", "--no-lab", *small)
        beside = real_cli.json("lab", "--study", "smoke", "--variants", "lab-cnn1", "--home", "home")
        assert (set(beside["lab"]), beside["trials"]["target"]) == ({"lab-cnn1"}, 2)
        told = real_cli.json("status", "--study", "smoke", "--home", "home")
        assert (told["trials"]["target"], told["in_use"], told["running"]) == (2, False, [])
        quiet = real_cli.run("status", "--study", "smoke", "--home", "home", "-q")
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
