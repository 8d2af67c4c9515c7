"""What must be true of a study after a soak, found through the public interfaces of those who show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from fmnist_sweep import durable
from fmnist_sweep.doctor import visit
from fmnist_sweep.doctor.look import look
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import ENDED, JobRecord, StudyState
from fmnist_sweep.views import shown
from fmnist_sweep.views.mlflow_client import connect
from fmnist_sweep.views.registry import ALIAS, MODEL_NAME

# What a killed process may leave behind, and `doctor --fix` clears away: no figure is in it.
LITTER = ("scratch", "half-logged model")
_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
_DIED_TOO_OFTEN = "worker: "

Figures = dict[tuple[int, int], tuple[Any, ...]]  # by trial and report point


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found.

    Attributes:
        violations: What must not be, in words; empty where all is well.
        comparisons: Figures and facts that were compared one by one.
        models: Kept models that were loaded from both places.
        litter: Things that ``doctor --fix`` cleared away.
    """

    violations: tuple[str, ...]
    comparisons: int
    models: int
    litter: int


class Checks:
    """Checks one study after the other, and that all of them have the same figures for the same trial.

    Args:
        trials: That each study must have.
        images: Raw images, float32 (n, height, width, channels), for the models to judge.
    """

    def __init__(self, trials: int, images: np.ndarray) -> None:
        self._trials = trials
        self._images = images
        self._known: Figures = {}
        self._comparisons = 0

    def check(self, settings: Settings) -> Checked:
        """Checks a study that has ended."""
        self._comparisons = 0
        name = settings.study
        with closing(Ledger(settings.home.study(name).ledger)) as ledger:
            state = StudyState.of(ledger.events())
        found = list(self._counted(state))
        found += self._as_in_other_studies(state)
        found += self._in_mlflow(state, settings)
        found += self._in_optuna(state, settings)
        kept = [job for job in state.jobs.values() if job.kept]
        for job in kept:
            found += self._model(job, settings)
        litter, differences = self._doctor(settings)
        words = tuple(f"{name}: {what}" for what in [*found, *differences])
        return Checked(words, self._comparisons, len(kept), litter)

    def _same(self, what: str, expected: object, got: object) -> Iterator[str]:
        self._comparisons += 1
        if expected != got:
            yield f"{what} is {got!r}, not {expected!r}"

    def _counted(self, state: StudyState) -> Iterator[str]:
        trials = state.trials()
        yield from self._same("the ledger's list of trials", list(range(self._trials)), [job.number for job in trials])
        for job in trials:
            places = [report.place for report in job.reports]
            yield from self._same(f"{job.key}'s report points", list(range(len(places))), places)
            if job.state not in ENDED or (job.state == "failed" and not job.reason.startswith(_DIED_TOO_OFTEN)):
                yield f"{job.key} is {job.state} ({job.reason})"
        best = {job.key for job in state.ranked()[: state.study["config"]["study"]["keep_models"]]}
        yield from self._same("the list of kept models", best, {job.key for job in trials if job.kept})

    def _as_in_other_studies(self, state: StudyState) -> Iterator[str]:
        """All have the same seed, so a trial's figures are the same up to where the shorter training ended."""
        for job in state.trials():
            for report in job.reports:
                it = (job.fingerprint, report.epoch, report.train_loss, report.train_accuracy, report.val_loss)
                figures = (*it, report.val_accuracy, report.steady_accuracy)
                known = self._known.setdefault((job.number, report.place), figures)
                yield from self._same(f"{job.key} at report point {report.place}", known, figures)
            if job.state == "complete" and job.result is not None:
                known = self._known.setdefault((job.number, -1), (job.result.weights_sha256,))
                yield from self._same(f"{job.key}'s sha256", known, (job.result.weights_sha256,))

    def _in_mlflow(self, state: StudyState, settings: Settings) -> Iterator[str]:
        client = connect(settings.mlflow)
        experiment = client.get_experiment_by_name(settings.study)
        runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
        of_trials = [run for run in runs if run.data.tags["sweep.kind"] == "trial"]
        numbers = sorted(int(run.data.tags["sweep.trial"]) for run in of_trials)
        yield from self._same("MLflow's list of trials", list(range(self._trials)), numbers)
        yield from self._same("MLflow's count of runs", self._trials + 1, len(runs))
        by_number = {int(run.data.tags["sweep.trial"]): run for run in of_trials}
        for job in state.trials():
            run = by_number.get(job.number)
            if run is None:
                continue
            name = f"{job.key} in MLflow"
            yield from self._same(f"{name}: run", job.run_id, run.info.run_id)
            yield from self._same(f"{name}: status", shown.status(job), run.info.status)
            yield from self._same(f"{name}: state", job.state, run.data.tags["sweep.state"])
            if job.result is not None:
                yield from self._same(f"{name}: best", job.best, run.data.metrics["best_val_accuracy"])
            for curve in shown.CURVES:
                history = [point.value for point in client.get_metric_history(job.run_id, curve)]
                expected = sorted(getattr(report, curve) for report in job.reports)
                yield from self._same(f"{name}: {curve}", expected, sorted(history))
        yield from self._champion(state, client)

    def _champion(self, state: StudyState, client: Any) -> Iterator[str]:
        """All studies here share one registry, and have the same best trial unless it failed in one."""
        if state.ranked():
            version = client.get_model_version_by_alias(MODEL_NAME, ALIAS)
            model = client.get_logged_model(version.source.removeprefix("models:/"))
            yield from self._same("the champion's model", "READY", str(model.status))

    def _in_optuna(self, state: StudyState, settings: Settings) -> Iterator[str]:
        study = optuna.load_study(study_name=settings.study, storage=settings.optuna)
        numbers = [trial.number for trial in study.trials]
        yield from self._same("Optuna's list of trials", list(range(self._trials)), numbers)
        for job, trial in zip(state.trials(), study.trials, strict=False):
            name = f"{job.key} in Optuna"
            yield from self._same(f"{name}: state", _STATES.get(job.state), trial.state.name)
            yield from self._same(f"{name}: params", job.drawn, trial.params)
            curve = {report.place: report.val_accuracy for report in job.reports}
            yield from self._same(f"{name}: curve", curve, trial.intermediate_values)
            if job.state == "complete":
                yield from self._same(f"{name}: value", job.best, trial.value)

    def _model(self, job: JobRecord, settings: Settings) -> Iterator[str]:
        """The weights on disk, and the model that MLflow gives out: whole, and one and the same."""
        import mlflow

        from fmnist_sweep.model import rebuild

        weights = settings.home.study(settings.study).job(job.key) / "weights.npz"
        sha256 = job.result.weights_sha256 if job.result else ""
        found = durable.sha256(weights) if weights.exists() else "gone"
        yield from self._same(f"{job.key}: sha256 of {weights.name}", sha256, found)
        if found != sha256:
            return
        ours = np.asarray(rebuild(job.arch, weights.read_bytes())(self._images))
        try:
            theirs = np.asarray(mlflow.keras.load_model(job.model_uri)(self._images))
        except Exception as error:
            yield f"{job.key}: its logged model {job.model_uri!r} can't be loaded: {type(error).__name__}: {error}"
            return
        yield from self._same(f"{job.key}: the logged model's answers", True, bool(np.array_equal(ours, theirs)))

    def _doctor(self, settings: Settings) -> tuple[int, list[str]]:
        """Has the doctor look, clear away the litter, and look again."""
        seen = look(settings, settings.study, live=False).findings
        litter = sum(finding.kind in LITTER for finding in seen)
        if litter and len(seen) == litter:
            visit(settings, settings.study, fix=True, say=lambda _: None)
            seen = look(settings, settings.study, live=False).findings
        self._comparisons += 1
        return litter, [f"doctor: {finding.what}" for finding in seen]
