"""One real study, on real images, from the command line to MLflow, the export and its predictions."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import signal
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from PIL import Image

from fmnist_sweep import data as datasets
from fmnist_sweep import standings
from fmnist_sweep.data import DataSource
from fmnist_sweep.lab import NAMES
from fmnist_sweep.ledger import Ledger, checksum
from fmnist_sweep.state import StudyState
from tests.conftest import COMPARE, SMALL, Cli, Study
from tests.home_copies import client_at

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CONTRACT_PARAMS = [
    *("depth", "filters", "kernel_size", "batch_norm", "dropout", "dense_units", "dense_dropout"),
    *("optimizer", "learning_rate", "batch_size", "epochs", "seed"),
]
EPOCH_METRICS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
ONCE_METRICS = ["best_val_accuracy", "train_s", "images_per_s", "parameters", "flops"]


@pytest.fixture
def client(finished: Study) -> Any:
    return client_at(finished.home)


@pytest.fixture
def judged_client(judged: Study) -> Any:
    """MLflow's client for the study that ``compare`` has judged."""
    return client_at(judged.home)


def runs_of(client: Any, kind: str) -> list[Any]:
    experiment = client.get_experiment_by_name("smoke").experiment_id
    found: list[Any] = client.search_runs([experiment], f"tags.`sweep.kind` = '{kind}'")
    return found


def test_the_result_has_the_keys_of_the_contract(finished: Study) -> None:
    result = finished.result
    keys = {"study", "sweep", "home", "trials", "best", "lab", "wall_s", "train_images"}
    assert keys | {"tracking_uri", "experiment_id", "compare_url"} <= result.keys()
    assert result["trials"]["target"] == 4
    assert sum(result["trials"][state] for state in ("complete", "pruned", "failed")) == 4
    assert set(result["lab"]) == set(NAMES)
    assert result["train_images"] == 2000
    assert set(CONTRACT_PARAMS) <= result["best"]["params"].keys()
    assert 0.5 < result["best"]["val_accuracy"] < 1
    assert "compare-runs" in result["compare_url"]


def test_people_read_a_table_said_to_be_of_one_seed_and_what_to_type_next(finished: Study) -> None:
    for part in ("lab-cnn3-bn-as-intended", "One seed each", "Next:", "export", "4 of 4 trials"):
        assert part in finished.stderr
    for noise in ("Traceback", "WARNING", "oneDNN", "INFO"):
        assert noise not in finished.stderr
    assert max(len(line) for line in finished.stderr.splitlines() if "python -m" not in line) <= 120


def test_runs_in_mlflow_have_names_params_metrics_and_tags_of_the_contract(client: Any) -> None:
    trials, lab = runs_of(client, "trial"), runs_of(client, "lab")
    assert sorted(int(run.data.tags["sweep.trial"]) for run in trials) == [0, 1, 2, 3]
    assert {run.info.run_name for run in lab} == set(NAMES)
    for run in [*trials, *lab]:
        assert run.info.status == "FINISHED"
        assert set(CONTRACT_PARAMS) <= run.data.params.keys()
        assert set(EPOCH_METRICS + ONCE_METRICS) <= run.data.metrics.keys()
        assert run.data.tags["sweep.study"] == "smoke"
        assert run.data.tags["sweep.state"] in ("complete", "pruned")
        assert len(run.data.tags["sweep.fingerprint"]) == 16
        assert "mlflow.parentRunId" not in run.data.tags
        assert [data.dataset.name for data in run.inputs.dataset_inputs] == [
            "fashion-mnist-training",
            "fashion-mnist-validation",
        ]


def test_curves_have_a_point_for_each_epoch(client: Any) -> None:
    run = next(run for run in runs_of(client, "lab") if run.info.run_name == "lab-mlp")
    for name in EPOCH_METRICS:
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == list(range(1, 21))
    best = max(point.value for point in client.get_metric_history(run.info.run_id, "val_accuracy"))
    assert run.data.metrics["best_val_accuracy"] == best


def test_the_study_run_says_what_was_found_and_where_it_came_from(client: Any) -> None:
    (run,) = runs_of(client, "study")
    assert "| lab-cnn1 |" in run.data.tags["mlflow.note.content"]
    assert {"seed", "tensorflow", "python", "train_images"} <= run.data.params.keys()
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"environment.txt", "sweep.json", "summary.md"} <= names


def test_models_are_kept_for_the_lab_and_the_best_trials_alone(finished: Study, client: Any) -> None:
    kept = {
        run.info.run_name if run.data.tags["sweep.kind"] == "lab" else int(run.data.tags["sweep.trial"]): run
        for run in [*runs_of(client, "trial"), *runs_of(client, "lab")]
        if run.outputs is not None and run.outputs.model_outputs
    }
    assert set(NAMES) <= kept.keys()
    written, cnn3 = (kept[name].outputs.model_outputs[0].model_id for name in ("lab-cnn3-bn-as-written", "lab-cnn3"))
    assert written == cnn3  # one net, one model
    trials = [name for name in kept if isinstance(name, int)]
    assert len(trials) == min(2, finished.result["trials"]["complete"])  # smoke keeps two
    assert finished.result["best"]["trial"] in trials


def test_the_champion_loads_as_keras_and_as_pyfunc_and_scores_as_reported(
    finished: Study, client: Any, source: DataSource, tmp_path: Path
) -> None:
    import mlflow

    version = client.get_model_version_by_alias("fmnist-sweep", "champion")
    assert version.run_id == finished.result["best"]["run_id"]
    split = datasets.prepare(source, tmp_path).load()
    images = np.asarray(split.validation_images, np.float32)
    keras_model = mlflow.keras.load_model("models:/fmnist-sweep@champion")
    probabilities = keras_model.predict(images, batch_size=500, verbose=0)
    accuracy = float((probabilities.argmax(-1) == split.validation_labels).mean())
    assert accuracy == pytest.approx(finished.result["best"]["val_accuracy"], abs=1e-4)
    pyfunc = mlflow.pyfunc.load_model("models:/fmnist-sweep@champion")
    np.testing.assert_allclose(pyfunc.predict(images[:8]), probabilities[:8], atol=1e-5)
    assert pyfunc.metadata.signature is not None
    assert pyfunc.metadata.saved_input_example_info is not None
    requirements = Path(mlflow.artifacts.download_artifacts("models:/fmnist-sweep@champion/requirements.txt"))
    assert "tensorflow==" in requirements.read_text()


def test_optuna_has_the_same_trials(finished: Study) -> None:
    study = optuna.load_study(study_name="smoke", storage=f"sqlite:///{finished.home / 'optuna.db'}")
    counts = {state.name.lower(): len(study.get_trials(states=[state])) for state in optuna.trial.TrialState}
    expected = finished.result["trials"]
    assert {"complete": counts["complete"], "pruned": counts["pruned"], "failed": counts["fail"]} == {
        state: expected[state] for state in ("complete", "pruned", "failed")
    }
    assert counts["running"] == counts["waiting"] == 0
    assert study.best_trial.number == finished.result["best"]["trial"]
    assert study.best_value == finished.result["best"]["val_accuracy"]


def test_the_same_command_again_does_nothing_and_says_the_same(finished: Study) -> None:
    again = finished.cli.json("run", *SMALL, "--trials", "4")
    assert again["best"] == finished.result["best"]
    assert again["trials"] == finished.result["trials"]


def test_status_agrees(finished: Study) -> None:
    found = finished.cli.json("status", "--study", "smoke", "--home", "home")
    assert found["best"] == finished.result["best"]
    assert found["trials"]["complete"] == finished.result["trials"]["complete"]
    assert found["running"] == []
    assert found["in_use"] is False


def state_of(finished: Study) -> StudyState:
    ledger = Ledger(finished.home / "studies" / "smoke" / "ledger.db")
    try:
        return StudyState.of(ledger.events())
    finally:
        ledger.close()


def test_compare_judges_on_seeds_of_its_own_and_opens_the_test_set_once(
    finished: Study, judged: Study, judged_client: Any
) -> None:
    assert judged.result["finalists"] == [f"trial-{state_of(finished).finalists()[0].number}"]
    assert judged.result["seeds"] == [1, 2]
    assert judged.result["test_openings"] == 1
    assert len(judged.result["pairs"]) == 4 + 3
    keys = {"a", "b", "mean_difference", "ci_low", "ci_high", "p_value", "verdict"}
    assert all(keys <= pair.keys() for pair in judged.result["pairs"])
    # Two seeds can show nothing.
    assert all(pair["verdict"] == "not distinguishable" for pair in judged.result["pairs"])
    assert [claim["verdict"] for claim in judged.result["claims"]] == ["not decided"] * 3
    assert "equal fingerprints" in judged.result["claims"][2]["why"]
    trained = {run.info.run_name: run for run in runs_of(judged_client, "final")}
    assert len(trained) == 10
    for net in judged.result["nets"]:
        for seed, accuracy in zip(judged.result["seeds"], net["test_accuracy_by_seed"], strict=True):
            assert trained[f"final-{net['name']}-seed{seed}"].data.metrics["test_accuracy"] == accuracy
    searched = [*runs_of(judged_client, "trial"), *runs_of(judged_client, "lab")]
    assert not [run for run in searched if any(name.startswith("test_") for name in run.data.metrics)]


def test_compare_again_does_nothing_twice_and_says_the_same_in_80_columns(judged: Study, judged_client: Any) -> None:
    before = state_of(judged)
    judged_client.delete_registered_model_alias(
        "fmnist-sweep", "champion"
    )  # as if it had been killed just before its end
    done = judged.cli.run(*COMPARE, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == judged.result
    after = state_of(judged)
    assert (after.openings, after.jobs, after.compared) == (before.openings, before.jobs, before.compared)
    assert max(len(line) for line in done.stderr.splitlines() if not line.startswith("  ")) <= 80
    for part in (
        "80 test images have a copy",
        "Champion: ",
        "--model champion",
        judged.result["report"],
        "tensorboard ",
    ):
        assert part in done.stderr


def test_what_is_known_of_the_test_images_is_in_the_ledger(judged: Study, source: DataSource) -> None:
    state, labels = state_of(judged), datasets.open_test_set(source).labels
    assert np.array_equal(state.test_labels(), labels)  # type: ignore[arg-type]
    for net in judged.result["nets"]:
        for seed, accuracy in zip(judged.result["seeds"], net["test_accuracy_by_seed"], strict=True):
            tested = state.jobs[f"final-{net['name']}-seed{seed}"].tested
            assert tested is not None
            assert np.mean(tested.classes() == labels) == accuracy
    assert state.duplicates is not None
    assert judged.result["duplicates"]["images"] == len(state.duplicates["test"]) == 80
    assert all(0 < net["test_accuracy_without_duplicates"] < 1 for net in judged.result["nets"])
    assert [found.leader for found in [standings.recorded(state)] if found] == [judged.result["leader"]]


def test_the_mistakes_of_the_leader_are_kept_as_pictures(judged: Study, source: DataSource) -> None:
    test, mistakes = datasets.open_test_set(source), state_of(judged).mistakes
    assert mistakes is not None
    assert (mistakes["net"], mistakes["seeds"], len(mistakes["images"])) == (judged.result["leader"], 2, 60)
    for it in mistakes["images"]:
        picture = Image.open(io.BytesIO(base64.b64decode(it["png"])))
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), test.images[it["index"], :, :, 0])
        assert it["label"] == test.labels[it["index"]] != it["predicted"]
    order = [(-it["votes"], -it["probability"]) for it in mistakes["images"]]
    assert order == sorted(order)


def test_the_alias_moves_to_the_winner_of_the_finals(judged: Study, judged_client: Any) -> None:
    version = judged_client.get_model_version_by_alias("fmnist-sweep", "champion")
    champion = judged.result["champion"]
    assert str(version.version) == champion["version"]
    assert version.tags["sweep.job"] == f"final-{champion['name']}-seed{champion['seed']}"
    assert version.tags["sweep.judged"] == "finals"
    assert champion["why"] in version.description
    assert judged_client.get_run(version.run_id).data.tags["sweep.model_sha256"] == version.tags["sweep.model_sha256"]
    finals_logged = [run for run in runs_of(judged_client, "final") if run.outputs and run.outputs.model_outputs]
    assert [run.info.run_id for run in finals_logged] == [version.run_id]
    # Two seeds can show nothing, so validation decides; of equals the finalist, then the lab's order.
    best = max(judged.result["nets"], key=lambda net: net["val_accuracy"])
    assert champion["name"] == best["name"]


def test_a_later_run_leaves_the_alias_with_the_winner_and_export_takes_it(
    judged: Study, judged_client: Any, tmp_path: Path
) -> None:
    again = judged.cli.run("run", *SMALL, "--trials", "4")
    assert f"fmnist-sweep@champion is version {judged.result['champion']['version']} already" in again.stderr
    words = ("export", "--study", "smoke", "--home", "home", "--model", "champion", "--out", str(tmp_path / "model"))
    done = judged.cli.json(*words)
    assert done["source"]["run_id"] == judged_client.get_model_version_by_alias("fmnist-sweep", "champion").run_id


def test_compare_writes_the_report_and_logs_it_with_the_study(judged: Study, judged_client: Any) -> None:
    page = judged.cli.folder / judged.result["report"]
    assert page == judged.home / "reports" / "smoke.html"
    (run,) = runs_of(judged_client, "study")
    names = {file.path for file in judged_client.list_artifacts(run.info.run_id)}
    assert {"smoke.html", "smoke.md"} <= names
    logged = Path(judged_client.download_artifacts(run.info.run_id, "smoke.html"))
    assert logged.stat().st_size > 10_000
    assert judged.result["leader"] in logged.read_text()


def test_compare_writes_the_curves_of_each_net_and_seed(judged: Study) -> None:
    folder = judged.cli.folder / judged.result["tensorboard"]
    assert folder == judged.home / "tensorboard" / "smoke"
    expected = {f"{net['name']}-seed{seed}" for net in judged.result["nets"] for seed in judged.result["seeds"]}
    assert {path.name for path in folder.iterdir()} == expected
    assert all({path.name for path in run.iterdir()} == {"train", "validation"} for run in folder.iterdir())


def test_ui_serves_the_comparison_and_ends_with_ctrl_c(finished: Study) -> None:
    child = finished.cli.start("ui", "--study", "smoke", "--home", "home", "--port", "0", "--no-browser", "--json")
    assert child.stdout is not None
    addresses = json.loads(child.stdout.readline())
    try:
        with urllib.request.urlopen(addresses["tracking_uri"], timeout=30) as page:
            assert page.status == 200
        assert "compare-runs" in addresses["compare_url"]
        assert "workflowType=machine_learning" in addresses["table_url"]
    finally:
        child.send_signal(signal.SIGINT)
        try:
            _, stderr = child.communicate(timeout=240)
        finally:
            child.kill()  # nothing outlives a failed test
    assert child.returncode == 0, stderr


def test_fresh_starts_anew_and_keeps_the_old_study(finished: Study) -> None:
    home = ("--home", "fresh")
    words = ("run", "--sweep", "smoke", "--train-images", "500", "--epochs", "1", "--no-lab", "--trials", "1", *home)
    first = finished.cli.json(*words)
    second = finished.cli.json(*words, "--fresh")
    studies = sorted(path.name for path in (finished.cli.folder / "fresh" / "studies").iterdir())
    assert len(studies) == 2
    assert studies[0] == "smoke"
    assert second["experiment_id"] != first["experiment_id"]
    assert second["best"]["run_id"] != first["best"]["run_id"]
    old = finished.cli.json("status", "--study", studies[1], *home)
    assert old["best"] == first["best"]


def test_a_study_begun_by_an_older_release_goes_on(finished: Study, tmp_path: Path) -> None:
    """A key that the sweep file's format gained later counts as its default."""
    shutil.copytree(finished.home, tmp_path / "home")
    with contextlib.closing(sqlite3.connect(tmp_path / "home" / "studies" / "smoke" / "ledger.db")) as ledger, ledger:
        ((text,),) = ledger.execute("SELECT body FROM events WHERE kind = 'study'").fetchall()
        body = json.loads(text)
        del body["config"]["study"]["patience"]
        ledger.create_function("event_sum", 5, checksum)
        sum_ = "event_sum(time, kind, job, place, :body)"
        ledger.execute(f"UPDATE events SET body = :body, sum = {sum_} WHERE kind = 'study'", {"body": json.dumps(body)})
    result = Cli(tmp_path, finished.cli.data_dir).json("run", *SMALL, "--trials", "4")
    assert result["trials"] == finished.result["trials"]
    assert result["best"]["run_id"] == finished.result["best"]["run_id"]
