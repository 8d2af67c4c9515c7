"""Optuna's samplers behind the proposer's contract, over a study in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from fmnist_sweep import space
from fmnist_sweep.proposers.base import Excess, Past, Proposal, Task, telling
from fmnist_sweep.proposers.draws import fresh
from fmnist_sweep.schema import Sampler, Scalar, SweepConfig

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

_TRIES = 80
_MODEL_TRIES = 8  # a model that repeats itself as often as that makes way for random draws
_TOLD = 200  # trials that the sampler is told of at most; it gains little from more, and its time grows with them
_LIMITS = "limits"
_TEACHES = ("stopped", "complete", "infeasible")  # as Optuna's TPE counts for its startup
_STATES = {
    "running": TrialState.RUNNING,
    "stopped": TrialState.PRUNED,
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.PRUNED,
}


class OptunaProposer:
    """See ``Proposer``.

    The study is put together anew for each proposal, with every trial as it stands, since a trial that
    was stopped may be taken up again; and the sampler is made anew from the seed and the trial's number.
    """

    def __init__(self, task: Task, sampler: Sampler) -> None:
        self._task = task
        self._sampler = sampler
        self._known: dict[int, _Told] = {}

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | None:
        """See ``Proposer``; a sampler that only repeats itself makes way for random draws.

        A draw over the limits is told to the sampler as an infeasible trial, so that it looks elsewhere.
        """
        study = optuna.create_study(direction="maximize")
        told = [self._told(number, earlier) for number, earlier in enumerate(past)]
        study.add_trials([self._frozen(told[number]) for number in telling(past, _TOLD)])
        known = {it.fingerprint for it in told}
        over_limits, task = 0, self._task
        for turn in range(_TRIES):
            study.sampler = self._make(self._sampler if turn < _MODEL_TRIES else "random", past, turn, over_limits)
            trial = study.ask()
            suggest = _OptunaSuggest(trial)
            arch, train = space.sample(
                task.config,
                suggest,
                input_shape=task.input_shape,
                classes=task.classes,
                seed=task.seed,
            )
            proposal = Proposal(arch, train, {**trial.params, **suggest.stepped})
            share = excess(proposal)
            if share > 0:
                over_limits += 1
                trial.set_constraint(_LIMITS, share)
                study.tell(trial, state=TrialState.PRUNED)
            elif proposal.fingerprint in known:
                study.tell(trial, state=TrialState.FAIL)  # a failed trial teaches the sampler nothing
            else:
                return proposal
        return fresh(task, f"{task.seed}-{len(past)}-last", known, excess)

    def _told(self, number: int, earlier: Past) -> _Told:
        known = self._known.get(number)
        if known is None or (known.past is not earlier and known.past != earlier):
            known = self._known[number] = _Told(earlier, earlier.proposal.fingerprint)
        return known

    def _frozen(self, told: _Told) -> FrozenTrial:
        """An earlier trial as Optuna knows it; made for those alone that it is told of, as that takes a while."""
        if told.frozen is None:
            task, earlier = self._task, told.past
            told.frozen = optuna.create_trial(
                state=_STATES[earlier.standing],
                value=earlier.value if earlier.standing == "complete" else None,
                params=earlier.proposal.drawn,
                distributions=distributions(
                    task.config, earlier.proposal.drawn, input_shape=task.input_shape, classes=task.classes
                ),
                intermediate_values=dict(enumerate(earlier.scores)),
            )
            if earlier.standing == "infeasible":
                told.frozen.set_constraint(_LIMITS, 1.0)
        return told.frozen

    def _make(self, sampler: Sampler, past: Sequence[Past], turn: int, over_limits: int) -> optuna.samplers.BaseSampler:
        seed = (self._task.seed * 1_000_003 + len(past) * 101 + turn) % 2**32
        if sampler == "tpe":
            startup = self._task.config.study.startup_trials
            # Of many trials the sampler is told of a part, which may be fewer than it is to wait for.
            begun = len(past) > _TOLD and sum(it.standing in _TEACHES for it in past) >= startup
            startup = 0 if begun else startup + over_limits
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        return optuna.samplers.RandomSampler(seed=seed)


@dataclass(slots=True)
class _Told:
    """An earlier trial; ``frozen`` is how Optuna knows it, once it has been told of it."""

    past: Past
    fingerprint: str
    frozen: FrozenTrial | None = None


class _OptunaSuggest:
    """Draws through an Optuna trial.

    Attributes:
        stepped: Values of stepped ranges, as the space has them: Optuna's 0.1 * 3 is not its 0.3.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.stepped: dict[str, float] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        value = self._trial.suggest_categorical(name, list(choices))
        assert value is not None
        return value

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        found = self._trial.suggest_float(name, low, high, step=step, log=log)
        if step:
            found = self.stepped[name] = min(space.steps(low, high, step), key=lambda value: abs(value - found))
        return found


def distributions(
    config: SweepConfig, drawn: dict[str, Any], *, input_shape: tuple[int, int, int], classes: int
) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each value in ``drawn``, found by walking the space along those values."""
    recorder = _Recorder(drawn)
    space.sample(config, recorder, input_shape=input_shape, classes=classes)
    return recorder.distributions


class _Recorder:
    """Repeats values drawn before, and notes Optuna's distribution of each."""

    def __init__(self, drawn: dict[str, Any]) -> None:
        self._drawn = drawn
        self.distributions: dict[str, BaseDistribution] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        self.distributions[name] = CategoricalDistribution(list(choices))
        return self._drawn[name]  # type: ignore[no-any-return]

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        self.distributions[name] = IntDistribution(low, high, log=log, step=step)
        return int(self._drawn[name])

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        self.distributions[name] = FloatDistribution(low, high, log=log, step=step)
        return float(self._drawn[name])
