"""Whether the trials in Optuna's storage are the ledger's: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fmnist_sweep.display import called
from fmnist_sweep.doctor.findings import Finding, Mend
from fmnist_sweep.state import ENDED, JobRecord, StudyState
from fmnist_sweep.views.optuna_claim import KEY
from fmnist_sweep.views.optuna_storage import STATES
from fmnist_sweep.views.seen import SeenOptuna, SeenTrial

_SHOW = Mend("show in Optuna")
_REPLACE = Mend("replace in Optuna")  # a trial that has ended can't be changed, and none can be deleted
_FINISHED = {state.name for state in STATES.values()}


def trials_agree(state: StudyState, seen: SeenOptuna, told: Collection[str], live: bool) -> Iterator[Finding]:
    """What ledger and Optuna's storage disagree on.

    Args:
        state: The ledger's.
        seen: What the storage has.
        told: Jobs of which the storage was told all.
        live: Whether a driver is at work.
    """
    if seen.study == "missing":
        if any(job.key in told for job in state.trials()):
            yield Finding("missing", "Optuna's storage does not have the study", _SHOW)
    elif seen.study == "another's":
        what = "Optuna's storage has another study of that name"
        yield Finding("unreachable", what, advice="name the storage that the study was run with: --storage")
    else:
        trials = {trial.number: trial for trial in seen.trials}
        for job in state.trials():
            if job.key in told:
                yield from _trial_agrees(job, trials.get(job.number), len(trials))
        if not live:
            yield from _strays(state, seen)


def _trial_agrees(job: JobRecord, trial: SeenTrial | None, count: int) -> Iterator[Finding]:
    name = called(job)
    if trial is None:
        yield Finding("missing", f"Optuna's storage has no {name}", _SHOW if job.number >= count else _REPLACE)
        return
    if trial.attrs.get(KEY) != job.key:
        yield Finding("orphan", f"Optuna's trial {trial.number} is not the ledger's", _REPLACE)
        return
    if trial.params != job.drawn:
        yield Finding("params", f"{name}: its parameters differ in Optuna's storage", _REPLACE)
    facts = {"fingerprint": job.fingerprint, "net": job.arch.short, "reason": job.reason or None}
    wrong = [label for label, value in facts.items() if trial.attrs.get(label) != value]
    if wrong and (trial.state in _FINISHED or wrong != ["reason"]):
        yield Finding("tags", f"{name}: {', '.join(wrong)} differ in Optuna's storage", _REPLACE)
    yield from _ending_agrees(job, trial)


def _ending_agrees(job: JobRecord, trial: SeenTrial) -> Iterator[Finding]:
    name = called(job)
    expected = STATES[job.state].name if job.state in ENDED else "WAITING"
    if trial.state == "RUNNING":
        what = f"{name} is RUNNING in Optuna's storage, and nothing trains it"
        yield Finding("zombie", what, _SHOW if job.attempts or job.state in ENDED else _REPLACE)
    elif trial.state != expected:
        what = f"{name} is {trial.state} in Optuna's storage, not {expected}"
        yield Finding("state", what, _REPLACE if trial.state in _FINISHED else _SHOW)
    elif job.state in ENDED:
        if dict(trial.curve) != {report.place: report.val_accuracy for report in job.reports}:
            yield Finding("curve", f"{name}: its curve differs in Optuna's storage", _REPLACE)
        if job.state == "complete" and trial.value != job.best:
            yield Finding("metrics", f"{name}: its value differs in Optuna's storage", _REPLACE)


def _strays(state: StudyState, seen: SeenOptuna) -> Iterator[Finding]:
    """Trials that the ledger does not have; they would take the numbers of those to come."""
    numbers = {job.number for job in state.trials()}
    for trial in seen.trials:
        twin = state.jobs.get(str(trial.attrs.get(KEY)))
        if trial.number in numbers:
            continue
        if twin is not None:
            what = f"{called(twin)} is in Optuna's storage a second time, as trial {trial.number}"
            yield Finding("duplicate", what, _REPLACE)
        else:
            yield Finding("orphan", f"Optuna's trial {trial.number} is unknown to the ledger", _REPLACE)
