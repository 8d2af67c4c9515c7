"""Optuna's samplers behind the proposer's contract: a study in memory, rebuilt from the ledger."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from fmnist_sweep import space
from fmnist_sweep.config import Sampler, Scalar
from fmnist_sweep.proposers.base import Acceptable, Ending, Proposal, Task

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

_TRIES = 40
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class OptunaProposer:
    """See ``Proposer``.

    The sampler is made anew for each proposal from the study's seed and the trial's number, so a
    study that was interrupted proposes what it would have proposed without.
    """

    def __init__(self, task: Task, sampler: Sampler) -> None:
        self._task = task
        self._sampler = sampler
        startup = task.config.study.startup_trials
        self._study = optuna.create_study(
            direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=0)
        )
        self._trials: dict[int, Trial] = {}

    def ask(self, number: int, acceptable: Acceptable) -> Proposal | None:
        """See ``Proposer``; a sampler that only repeats itself makes way for random draws."""
        for turn in range(2 * _TRIES):
            sampler: Sampler = self._sampler if turn < _TRIES else "random"
            self._study.sampler = _make(sampler, self._task, number, turn)
            trial = self._study.ask()
            suggest = _OptunaSuggest(trial)
            arch, train = space.sample(
                self._task.config,
                suggest,
                input_shape=self._task.input_shape,
                classes=self._task.classes,
                seed=self._task.seed,
            )
            proposal = Proposal(arch, train, dict(trial.params))
            if acceptable(proposal):
                self._trials[number] = trial
                return proposal
            self._study.tell(trial, state=TrialState.FAIL)  # a failed trial teaches the sampler nothing
        return None

    def recall(self, number: int, proposal: Proposal) -> None:
        """See ``Proposer``."""
        recorder = Recorder(proposal.drawn)
        task = self._task
        space.sample(task.config, recorder, input_shape=task.input_shape, classes=task.classes, seed=task.seed)
        self._study.add_trial(
            optuna.create_trial(state=TrialState.RUNNING, params=proposal.drawn, distributions=recorder.distributions)
        )
        self._trials[number] = Trial(self._study, self._study.trials[-1]._trial_id)

    def report(self, number: int, place: int, value: float) -> None:
        """See ``Proposer``."""
        self._trials[number].report(value, place)

    def tell(self, number: int, ending: Ending, value: float | None) -> None:
        """See ``Proposer``."""
        trial = self._trials[number]
        if ending == "complete":
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=_STATES[ending])

    def median_prunes(self, number: int) -> bool:
        """See ``Proposer``."""
        return self._trials[number].should_prune()


class _OptunaSuggest:
    """Draws through an Optuna trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        value = self._trial.suggest_categorical(name, list(choices))
        assert value is not None
        return value

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)


class Recorder:
    """Repeats values drawn before, and notes Optuna's distribution of each."""

    def __init__(self, drawn: dict[str, Any]) -> None:
        self._drawn = drawn
        self.distributions: dict[str, BaseDistribution] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """See ``Suggest``."""
        self.distributions[name] = CategoricalDistribution(list(choices))
        return self._drawn[name]  # type: ignore[no-any-return]

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        """See ``Suggest``."""
        self.distributions[name] = IntDistribution(low, high, log=log, step=step)
        return int(self._drawn[name])

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        """See ``Suggest``."""
        self.distributions[name] = FloatDistribution(low, high, log=log, step=step)
        return float(self._drawn[name])


def _make(sampler: Sampler, task: Task, number: int, turn: int) -> optuna.samplers.BaseSampler:
    seed = (task.seed * 1_000_003 + number * 101 + turn) % 2**32
    startup = task.config.study.startup_trials
    if sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    return optuna.samplers.RandomSampler(seed=seed)
