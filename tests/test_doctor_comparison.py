"""Whether ledger, MLflow and Optuna agree, as a pure function: any change is found, and nothing where all is well."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep.doctor import Finding, agreement
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import ENDED, JobRecord, StudyState
from fmnist_sweep.trial import TrialResult
from fmnist_sweep.views import shown
from fmnist_sweep.views.optuna_claim import KEY
from fmnist_sweep.views.optuna_storage import STATES
from fmnist_sweep.views.seen import Champion, SeenMlflow, SeenModel, SeenOptuna, SeenRun, SeenTrial
from tests.stand_ins import asked, proposals, reports_of, task
from tests.strategies import CALM

STUDY = {
    **{"name": "mine", "id": "1234", "title": "a study", "seed": 0, "train_images": 40, "data": "0" * 16},
    **{"versions": {"python": "3.11"}, "config": task().config.model_dump(mode="json")},
}
ENDINGS = ["complete", "complete", "pruned", "failed", "held", "paused", "waiting"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StudyState:
    """A trial for each way to stand, and a net of the lab that is the same as the first of them."""
    ledger = Ledger(tmp_path_factory.mktemp("comparison") / "ledger.db")
    ledger.append("study", **STUDY)
    ledger.append("view", "", 0, experiment_id="7", study_run_id="run-study")
    for number, ending in enumerate(ENDINGS):
        _tell(ledger, f"trial-{number:04d}", number, ending)
    ledger.append("asked", "lab-cnn3", **{**asked(-1, proposals()[0]), "kind": "lab", "same_as": "trial-0000"})
    ledger.append("ended", "lab-cnn3", state="complete", reason="the same net", result=asdict(_result(0)))
    ledger.append("run", "lab-cnn3", run_id="run-lab-cnn3")
    made = StudyState.of(ledger.events())
    ledger.close()
    return made


def _tell(ledger: Ledger, key: str, number: int, ending: str) -> None:
    proposal = proposals()[number]
    ledger.append("asked", key, **asked(number, proposal))
    if ending == "waiting":
        return
    ledger.append("started", key, 1)
    ledger.append("run", key, run_id=f"run-{key}")
    for report in reports_of(proposal.arch, proposal.train, (0.5, 1.0, 2.0, 3.0))[: 2 + number % 3]:
        ledger.append("report", key, report.place, **report.body)
    if ending in ENDED:
        result = None if ending == "failed" else asdict(_result(number))
        ledger.append("ended", key, state=ending, reason=f"why {ending}", result=result)
    else:
        ledger.append(ending, key, 1)
    if ending == "complete":
        ledger.append("kept", key)
        ledger.append("model", key, model_uri=f"models:/m-{key}")


def _result(number: int) -> TrialResult:
    proposal = proposals()[number]
    reports = reports_of(proposal.arch, proposal.train, (0.5, 1.0, 2.0, 3.0))[: 2 + number % 3]
    return replace(TrialResult.so_far(reports), weights_sha256=str(number) * 64)


def in_mlflow(state: StudyState) -> SeenMlflow:
    """What MLflow has where all is well."""
    runs = [_run(state, job) for job in state.jobs.values() if job.run_id]
    runs += [
        SeenRun("run-study", "FINISHED", shown.study_params(state.study), shown.study_tags(state.study), {}, {}, ())
    ]
    models = [
        SeenModel(f"m-{job.key}", job.run_id, "READY", job.result.weights_sha256, True)
        for job in state.jobs.values()
        if job.kept and job.result
    ]
    best = state.ranked()[0]
    assert best.result
    tags = {"sweep.study_id": "1234", "sweep.model_sha256": best.result.weights_sha256}
    return SeenMlflow(
        "here",
        {run.run_id: run for run in runs},
        models={model.model_id: model for model in models},
        files=frozenset(shown.STUDY_FILES),
        champion=Champion("1", best.model_uri, tags, True),
    )


def _run(state: StudyState, job: JobRecord) -> SeenRun:
    ended = job.state in ENDED
    trained = job.same_as or job.key
    return SeenRun(
        run_id=job.run_id,
        status=shown.status(job),
        params={**shown.params(state.study, job), "my own": "1"},
        tags={**shown.birth_tags(state.study, job), **(shown.end_tags(job) if ended else {}), "mine": "yes"},
        metrics={**shown.birth_metrics(job), **shown.end_metrics(job)},
        curves=shown.curves(job),
        models=(f"m-{trained}",) if state.jobs[trained].kept else (),
    )


def in_optuna(state: StudyState) -> SeenOptuna:
    """What Optuna's storage has where all is well."""
    return SeenOptuna("here", tuple(_trial(job) for job in state.trials()))


def _trial(job: JobRecord) -> SeenTrial:
    attrs = {KEY: job.key, "net": job.arch.short, "fingerprint": job.fingerprint}
    if job.state not in ENDED:
        return SeenTrial(job.number, "WAITING", job.drawn, None, {}, attrs)
    curve = {report.place: report.val_accuracy for report in job.reports}
    value = job.best if job.state == "complete" else None
    return SeenTrial(job.number, STATES[job.state].name, job.drawn, value, curve, {**attrs, "reason": job.reason})


def test_nothing_is_found_where_all_is_well(state: StudyState) -> None:
    assert agreement(state, in_mlflow(state), in_optuna(state)) == []
    assert agreement(state, in_mlflow(state), in_optuna(state), live=True) == []


# Any value that differs or is lost is found, and found in the job that it belongs to.

Change = Callable[[SeenRun], SeenRun]
CHANGES: dict[str, Change] = {
    "status": lambda run: replace(run, status="RUNNING"),
    "killed": lambda run: replace(run, status="KILLED"),
    "param lost": lambda run: replace(run, params=dict(list(run.params.items())[1:])),
    "param altered": lambda run: replace(run, params={**run.params, "train_images": "41"}),
    "tag lost": lambda run: replace(run, tags=dict(list(run.tags.items())[1:])),
    "tag altered": lambda run: replace(run, tags={**run.tags, "sweep.kind": "x"}),
}
TRAINED: dict[str, Change] = {
    "metric altered": lambda run: replace(run, metrics={**run.metrics, "parameters": 1.0}),
    "point lost": lambda run: replace(run, curves={**run.curves, "val_loss": run.curves["val_loss"][:-1]}),
    "point too many": lambda run: replace(run, curves={**run.curves, "val_loss": (*run.curves["val_loss"], (9, 0.5))}),
    "point twice": lambda run: replace(run, curves={**run.curves, "val_loss": run.curves["val_loss"][:1] * 9}),
    "curve lost": lambda run: replace(run, curves={}),
}


@CALM
@given(data=st.data())
def test_any_change_to_a_run_is_found(state: StudyState, data: st.DataObject) -> None:
    seen = in_mlflow(state)
    run = seen.runs[data.draw(st.sampled_from(sorted(seen.runs)))]
    changes = CHANGES if run.run_id in ("run-study", "run-lab-cnn3") else CHANGES | TRAINED
    changed = changes[data.draw(st.sampled_from(sorted(changes)))](run)
    found = agreement(state, replace(seen, runs={**seen.runs, run.run_id: changed}), in_optuna(state))
    assert len(found) == 1
    assert found[0].mend is not None
    assert found[0].mend.target == run.run_id.removeprefix("run-")


@CALM
@given(data=st.data())
def test_any_run_that_is_lost_deleted_or_there_twice_is_found(state: StudyState, data: st.DataObject) -> None:
    seen = in_mlflow(state)
    run = seen.runs[data.draw(st.sampled_from(sorted(seen.runs)))]
    left = {key: other for key, other in seen.runs.items() if key != run.run_id}
    twice = {**seen.runs, "another": replace(run, run_id="another")}

    def hows(changed: SeenMlflow) -> list[str]:
        return [found.mend.how for found in agreement(state, changed, in_optuna(state)) if found.mend]

    assert hows(replace(seen, runs=left)) == ["replace run"]
    assert hows(replace(seen, runs=left, deleted=frozenset({run.run_id}))) == ["restore run"]
    assert hows(replace(seen, runs=twice)) == ["delete run"]


TRIAL_CHANGES: dict[str, Callable[[SeenTrial], SeenTrial]] = {
    "state": lambda trial: replace(trial, state="RUNNING"),
    "ending": lambda trial: replace(trial, state="PRUNED" if trial.state != "PRUNED" else "COMPLETE"),
    "params": lambda trial: replace(trial, params={**trial.params, "depth": 3}),
    "key": lambda trial: replace(trial, attrs={**trial.attrs, KEY: "trial-0099"}),
    "net": lambda trial: replace(trial, attrs={**trial.attrs, "net": "x"}),
}


@CALM
@given(data=st.data())
def test_any_change_to_a_trial_is_found(state: StudyState, data: st.DataObject) -> None:
    trials = list(in_optuna(state).trials)
    number = data.draw(st.integers(0, len(trials) - 1))
    trials[number] = TRIAL_CHANGES[data.draw(st.sampled_from(sorted(TRIAL_CHANGES)))](trials[number])
    assert len(agreement(state, in_mlflow(state), SeenOptuna("here", tuple(trials)))) == 1


@pytest.mark.parametrize("number", range(len(ENDINGS)))
def test_a_curve_that_differs_is_found_in_trials_that_ended(state: StudyState, number: int) -> None:
    trials = list(in_optuna(state).trials)
    trials[number] = replace(trials[number], curve={0: 0.123})
    found = agreement(state, in_mlflow(state), SeenOptuna("here", tuple(trials)))
    assert [finding.kind for finding in found] == (["curve"] if ENDINGS[number] in ENDED else [])


def test_of_a_running_study_only_what_has_ended_is_compared(state: StudyState) -> None:
    live = copy.deepcopy(state)
    live.jobs["trial-0005"] = replace(live.jobs["trial-0005"], paused=False)  # it is being trained
    seen, trials = in_mlflow(live), list(in_optuna(live).trials)
    runs = {key: run for key, run in seen.runs.items() if key != "run-trial-0004"}
    trials[5] = replace(trials[5], state="RUNNING")
    changed = replace(seen, runs=runs), SeenOptuna("here", (*trials, replace(trials[6], number=7)))
    assert agreement(live, *changed, live=True) == []
    kinds = sorted(finding.kind for finding in agreement(live, *changed))
    assert kinds == ["duplicate", "missing", "zombie", "zombie", "zombie"]


def test_what_a_view_was_not_told_is_not_held_against_it(state: StudyState) -> None:
    told = set(state.jobs) - {"trial-0001"}
    seen, trials = in_mlflow(state), list(in_optuna(state).trials)
    behind = replace(seen.runs["run-trial-0001"], status="SCHEDULED", metrics={}, curves={})
    runs = {**seen.runs, "run-trial-0001": behind}
    trials[1] = replace(trials[1], state="WAITING", value=None, curve={})

    def found(told: set[str]) -> list[Finding]:
        return agreement(state, replace(seen, runs=runs), SeenOptuna("here", tuple(trials)), told, told)

    assert found(told) == []
    assert {finding.kind for finding in found(set(state.jobs))} == {"state", "metrics", "curve"}


@pytest.mark.parametrize("alive", [True, False])
def test_a_champion_of_another_study_stays_if_it_is_as_good_and_alive(state: StudyState, alive: bool) -> None:
    best = state.ranked()[0]
    tags = {"sweep.study_id": "5678", "sweep.judged": "search", "val_accuracy": f"{best.best:.6f}"}
    other = replace(in_mlflow(state), champion=Champion("9", "models:/m-other", tags, alive))
    kinds = [finding.kind for finding in agreement(state, other, in_optuna(state))]
    assert kinds == ([] if alive else ["champion"])
    worse = replace(other, champion=Champion("9", "models:/m-other", {**tags, "val_accuracy": "0.1"}, alive))
    assert [finding.kind for finding in agreement(state, worse, in_optuna(state))] == ["champion"]
