"""Damage that is done for real to a finished study: what the tests of the doctor have mended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from fmnist_sweep.ledger import Ledger
from fmnist_sweep.views.mlflow_client import connect
from tests.doctor_patient import NAME, Patient

# Damage that is mended: each function does it, and returns how the finding reads, as kind and the words it begins with.

Said = tuple[str, str]


def run_still_running(patient: Patient) -> Said:
    patient.client.update_run(patient.job("lab-cnn1").run_id, status="RUNNING")
    return "zombie", "lab-cnn1 is RUNNING in MLflow"


def run_deleted(patient: Patient) -> Said:
    patient.client.delete_run(patient.job("lab-cnn3").run_id)
    return "missing", "lab-cnn3: its run in MLflow was deleted"


def erase(patient: Patient, run: str) -> None:
    patient.client._tracking_client.store._hard_delete_run(run)  # as `mlflow gc` does


def run_gone_for_good(patient: Patient) -> Said:
    erase(patient, patient.job("lab-mlp").run_id)
    return "missing", "lab-mlp: its run is gone from MLflow"


def study_run_deleted(patient: Patient) -> Said:
    patient.client.delete_run(patient.state.views["study_run_id"])
    return "missing", "the study: its run in MLflow was deleted"


def second_run_of_one_job(patient: Patient) -> Said:
    run = patient.client.get_run(patient.best.run_id)
    patient.client.create_run(patient.experiment, tags=run.data.tags)
    return "duplicate", f"trial {patient.best.number} has a second run in MLflow"


def tags_altered_and_lost(patient: Patient) -> Said:
    run = patient.job("lab-cnn3-bn-as-written").run_id
    patient.client.set_tag(run, "sweep.state", "failed")
    patient.client.delete_tag(run, "sweep.study_id")
    return "tags", "lab-cnn3-bn-as-written: sweep.state differ"


def curve_with_a_hole(patient: Patient) -> Said:
    query = "DELETE FROM metrics WHERE run_uuid = ? AND key = 'val_loss' AND step = 1"
    patient.sql(query, patient.job("lab-cnn1").run_id)
    return "curve", "lab-cnn1: val_loss lack points"


def curve_with_a_point_too_many(patient: Patient) -> Said:
    patient.client.log_metric(patient.job("lab-cnn3-bn-as-intended").run_id, "val_accuracy", 0.5, step=1)
    return "curve", "lab-cnn3-bn-as-intended: val_accuracy differ"


def parameter_lost(patient: Patient) -> Said:
    patient.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'depth'", patient.job("lab-mlp").run_id)
    return "params", "lab-mlp: depth are missing"


def parameter_altered(patient: Patient) -> Said:
    patient.sql("UPDATE params SET value = '7' WHERE run_uuid = ? AND key = 'depth'", patient.job("lab-cnn3").run_id)
    return "params", "lab-cnn3: depth differ"


def final_metric_altered(patient: Patient) -> Said:
    patient.client.log_metric(patient.job("lab-cnn3-bn-as-written").run_id, "best_val_accuracy", 0.99)
    return "metrics", "lab-cnn3-bn-as-written: best_val_accuracy differ"


def final_metric_lost(patient: Patient) -> Said:
    for table in ("metrics", "latest_metrics"):
        patient.sql(f"DELETE FROM {table} WHERE run_uuid = ? AND key = 'train_s'", patient.best.run_id)
    return "metrics", f"trial {patient.best.number}: train_s are missing"


def model_half_logged(patient: Patient) -> Said:
    tags = {"sweep.model_sha256": "0" * 64}
    made = patient.client.create_logged_model(patient.experiment, source_run_id=patient.best.run_id, tags=tags)
    assert str(made.status) == "PENDING"
    return "half-logged model", f"trial {patient.best.number}: a model that was logged by halves"


def experiment_deleted(patient: Patient) -> Said:
    patient.client.delete_experiment(patient.experiment)
    return "missing", "the study's experiment was deleted"


def alias_deleted(patient: Patient) -> Said:
    patient.client.delete_registered_model_alias("fmnist-sweep", "champion")
    return "champion", "no model in MLflow's registry has the alias"


def alias_moved_to_a_worse_model(patient: Patient) -> Said:
    worse = patient.job("lab-mlp")
    tags = {"sweep.study_id": patient.state.study["id"]}
    made = patient.client.create_model_version("fmnist-sweep", worse.model_uri, worse.run_id, tags=tags)
    patient.client.set_registered_model_alias("fmnist-sweep", "champion", made.version)
    return "champion", f"the champion, version {made.version}, is not"


def model_unlinked_from_its_runs(patient: Patient) -> Said:
    model = patient.job("lab-cnn3").model_uri.removeprefix("models:/")
    patient.sql("DELETE FROM inputs WHERE destination_id = ?", model)
    return "model", "lab-cnn3-bn-as-written: its run does not show the model of lab-cnn3"


def trial_twice_in_optuna(patient: Patient) -> Said:
    patient.optuna().add_trial(patient.optuna().trials[0])
    return "duplicate", "trial 0 is in Optuna's storage a second time"


def unknown_trial_in_optuna(patient: Patient) -> Said:
    number = patient.optuna().ask().number
    return "orphan", f"Optuna's trial {number} is unknown"


def study_gone_from_optuna(patient: Patient) -> Said:
    optuna.delete_study(study_name=NAME, storage=patient.settings.optuna)
    return "missing", "Optuna's storage does not have the study"


def database_of_optuna_gone(patient: Patient) -> Said:
    (patient.home.path / "optuna.db").unlink()
    return "missing", "Optuna's storage does not have the study"


def last_trial_gone_from_optuna(patient: Patient) -> Said:
    patient.rewrite_trials(lambda trials: trials[:-1])
    return "missing", f"Optuna's storage has no trial {len(patient.state.trials()) - 1}"


def trial_still_running_in_optuna(patient: Patient) -> Said:
    def change(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        last = trials[-1]
        state, params, distributions = TrialState.RUNNING, last.params, last.distributions
        attrs = last.user_attrs
        return [*trials[:-1], create_trial(state=state, params=params, distributions=distributions, user_attrs=attrs)]

    patient.rewrite_trials(change)
    return "zombie", f"trial {len(patient.state.trials()) - 1} is RUNNING in Optuna's storage"


def curve_altered_in_optuna(patient: Patient) -> Said:
    def change(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        trials[0].intermediate_values = {0: 0.5}
        return trials

    patient.rewrite_trials(change)
    return "curve", "trial 0: its curve differs in Optuna"


def attribute_altered_in_optuna(patient: Patient) -> Said:
    def change(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        trials[1].user_attrs = {**trials[1].user_attrs, "fingerprint": "0"}
        return trials

    patient.rewrite_trials(change)
    return "tags", "trial 1: fingerprint differ in Optuna"


def value_altered_in_optuna(patient: Patient) -> Said:
    def change(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        trials[patient.best.number].value = 0.99
        return trials

    patient.rewrite_trials(change)
    return "metrics", f"trial {patient.best.number}: its value differs in Optuna"


def mlflow_behind(patient: Patient) -> Said:
    with closing(Ledger(patient.folder.ledger)) as ledger:
        ledger.advance("MLflow", ledger.last() // 2)
    return "behind", "MLflow was not told the last"


def driver_killed(patient: Patient) -> Said:
    """A trial was asked for and begun, and no view was told."""
    key = f"trial-{len(patient.state.trials()):04d}"
    with closing(Ledger(patient.folder.ledger)) as ledger:
        asked = next(event for event in ledger.events() if event.kind == "asked" and event.body["kind"] == "trial")
        ledger.append("asked", key, **{**asked.body, "number": int(key[-4:]), "fingerprint": "f" * 16})
        ledger.append("started", key, 1)
    return "zombie", f"trial {int(key[-4:])} is running in the ledger"


def checkpoint_of_an_ended_job(patient: Patient) -> Said:
    (patient.folder.job(patient.best.key) / "checkpoint").write_bytes(b"x")
    return "scratch", f"a checkpoint of a job that has ended: jobs/{patient.best.key}/checkpoint"


def temporary_file(patient: Patient) -> Said:
    (patient.folder.job("lab-mlp") / ".weights.npz.123.0123abcd").write_bytes(b"half")
    return "scratch", "a half-written file: jobs/lab-mlp/.weights.npz"


def weights_of_a_job_that_is_not_kept(patient: Patient) -> Said:
    pruned = next(job for job in patient.state.trials() if not job.kept)
    (patient.folder.job(pruned.key) / "weights.npz").write_bytes(b"x")
    return "scratch", f"weights that are not kept: jobs/{pruned.key}"


def folder_of_no_job(patient: Patient) -> Said:
    strange = patient.folder.job("trial-0099")
    strange.mkdir()
    (strange / "weights.npz").write_bytes(b"precious")
    return "orphan", "jobs/trial-0099 belongs to no job"


def weights_not_marked_as_kept(patient: Patient) -> Said:
    with closing(Ledger(patient.folder.ledger)) as ledger:
        ledger.append("dropped", patient.best.key)
    return "missing", f"trial {patient.best.number}: its weights are there, but not marked as kept"


# These start a worker with TensorFlow.


def database_of_mlflow_gone(patient: Patient) -> Said:
    (patient.home.path / "mlflow.db").unlink()
    return "missing", "MLflow does not have the study's experiment"


def number_in_mlflow_taken(patient: Patient) -> Said:
    """The database was lost, and another study was the first to be shown in the new one."""
    (patient.home.path / "mlflow.db").unlink()
    made = connect(patient.settings.mlflow).create_experiment("other", tags={"sweep.study_id": "other"})
    assert made == patient.experiment
    return "missing", f"MLflow's experiment {made}, which was the study's, is another's"


def model_of_the_champion_deleted(patient: Patient) -> Said:
    patient.client.delete_logged_model(patient.best.model_uri.removeprefix("models:/"))
    return "champion", "the champion, version 1, is a model that is gone"


def model_deleted(patient: Patient) -> Said:
    patient.client.delete_logged_model(patient.job("lab-cnn1").model_uri.removeprefix("models:/"))
    return "model", "lab-cnn1: its logged model is gone"


def files_of_a_model_gone(patient: Patient) -> Said:
    model = patient.client.get_logged_model(patient.job("lab-mlp").model_uri.removeprefix("models:/"))
    (Path(model.artifact_location.removeprefix("file://")) / "data" / "model.keras").unlink()
    return "model", "lab-mlp: files of its logged model are gone"


def model_of_other_weights(patient: Patient) -> Said:
    model = patient.job("lab-cnn3").model_uri.removeprefix("models:/")
    patient.client.set_logged_model_tags(model, {"sweep.model_sha256": "0" * 64})
    return "checksum", "lab-cnn3: its logged model is not of the kept weights"


def weights_altered(patient: Patient) -> Said:
    with (patient.folder.job("lab-cnn3-bn-as-intended") / "weights.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"x" * 100)
    return "checksum", "lab-cnn3-bn-as-intended: jobs/lab-cnn3-bn-as-intended/weights.npz was altered"


Damage = Callable[[Patient], Said]
MENDED: dict[str, list[Damage]] = {  # what does not get in each other's way is done at once
    "runs": [
        run_still_running,
        run_deleted,
        run_gone_for_good,
        study_run_deleted,
        second_run_of_one_job,
        tags_altered_and_lost,
        trial_still_running_in_optuna,
    ],
    "contents": [
        curve_with_a_hole,
        curve_with_a_point_too_many,
        parameter_lost,
        parameter_altered,
        final_metric_altered,
        final_metric_lost,
        model_half_logged,
        curve_altered_in_optuna,
        attribute_altered_in_optuna,
        value_altered_in_optuna,
    ],
    "the experiment": [experiment_deleted, last_trial_gone_from_optuna],
    "links": [alias_deleted, model_unlinked_from_its_runs, study_gone_from_optuna],
    "what is there twice": [alias_moved_to_a_worse_model, trial_twice_in_optuna, unknown_trial_in_optuna],
    "after a kill": [
        driver_killed,
        mlflow_behind,
        database_of_optuna_gone,
        checkpoint_of_an_ended_job,
        temporary_file,
        weights_of_a_job_that_is_not_kept,
        folder_of_no_job,
        weights_not_marked_as_kept,
    ],
    "models": [
        *(model_of_the_champion_deleted, model_deleted, files_of_a_model_gone),
        *(model_of_other_weights, weights_altered),
    ],
    "all of MLflow": [database_of_mlflow_gone],
    "all of MLflow, and its number": [number_in_mlflow_taken],
}
