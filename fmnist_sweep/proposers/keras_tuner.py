"""KerasTuner's oracles behind the proposer's contract: random search, Bayesian optimization, Hyperband.

Importing this loads TensorFlow (some 6 s and 700 MiB), as KerasTuner does; none of its operations run here.

An oracle is made anew for each proposal, from the seed and the past, and asked through ``populate_space``, which is
where its method is. What KerasTuner has around that (files, retries, locks, tuner ids, its own memory of what was
tried) is left out: the ledger does all of it.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_tuner import HyperParameters, Objective
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from threadpoolctl import threadpool_limits

from fmnist_sweep import space
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers.base import Excess, Past, Prints, Proposal, Task, Wait, telling
from fmnist_sweep.schema import Domain, Scalar

_TRIES = 2_000  # draws refused one after the other before the space counts as exhausted
_WALKS = 1000
_TOLD = 200  # trials that a process is fitted to at most; its time grows with their cube
_STATUS = {"running": "RUNNING", "stopped": "COMPLETED", "complete": "COMPLETED"}
_FAILED = "FAILED"


class RandomProposer:
    """See ``Proposer``; random search."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._prints = Prints(self._net)
        self._values: dict[str, _Listed | _Ranged] = {}
        self._space = HyperParameters()
        self._declare()

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | Wait | None:
        """See ``Proposer``; a stopped trial counts with what it has come to, like one that a callback ends."""
        seed = random.Random(f"{self._task.seed} {len(past)}").randrange(1, 2**24)  # to KerasTuner 0 is no seed
        oracle = self._oracle(objective=Objective("val_accuracy", "max"), hyperparameters=self._space, seed=seed)
        known = set(self._prints.all(past))

        def refused(values: dict[str, Any]) -> bool:
            proposal = self._proposal(oracle, values)
            return self._net(proposal) in known or excess(proposal) > 0

        oracle._duplicate = refused
        oracle._max_collisions = _TRIES
        with warnings.catch_warnings(action="ignore"), threadpool_limits(1):  # the cores are the workers'
            self._restore(oracle, past)
            answer = self._populate(oracle, str(len(past)))
        if answer["status"] != "RUNNING":
            return Wait.WAIT if answer["status"] == "IDLE" else None
        proposal = self._proposal(oracle, answer["values"])
        return proposal if excess(proposal) <= 0 else None

    def _oracle(self, **common: Any) -> Any:
        return RandomSearchOracle(max_trials=None, **common)

    def _restore(self, oracle: Any, past: Sequence[Past]) -> None:
        """Gives the oracle its trials, under their numbers."""
        for number, earlier in enumerate(past):
            tried, drawn = copy.copy(self._space), earlier.proposal.drawn
            tried.values = {name: value.theirs(drawn[name]) for name, value in self._values.items() if name in drawn}
            trial = Trial(tried, trial_id=str(number), status=_STATUS.get(earlier.standing, _FAILED))
            trial.score = max(earlier.scores, default=0.0) if earlier.value is None else earlier.value
            oracle.trials[trial.trial_id] = trial
            if trial.status == "RUNNING":
                oracle.ongoing_trials[trial.trial_id] = trial

    def _populate(self, oracle: Any, trial_id: str) -> Any:
        return oracle.populate_space(trial_id)

    def _proposal(self, oracle: Any, values: dict[str, Any]) -> Proposal:  # noqa: ARG002
        drawn: dict[str, Any] = {}

        def read(name: str, value: _Listed | _Ranged) -> Any:
            drawn[name] = value.ours(values.get(name))
            return drawn[name]

        task = self._task
        found = space.sample(
            task.config, _Walker(read), input_shape=task.input_shape, classes=task.classes, seed=task.seed
        )
        return Proposal(*found, drawn)

    def _net(self, proposal: Proposal) -> str:
        """What no two nets that are drawn may have in common."""
        return proposal.fingerprint

    def _declare(self) -> None:
        """Tells KerasTuner every name of the space: found by many walks, since none comes by all of them."""
        task, drawing = self._task, random.Random(0)

        def note(name: str, value: _Listed | _Ranged) -> Any:
            if name not in self._values:
                self._values[name] = value
                value.declare(self._space, name)
            return value.anyone(drawing)

        for _ in range(_WALKS):
            space.sample(task.config, _Walker(note), input_shape=task.input_shape, classes=task.classes)


class BayesianProposer(RandomProposer):
    """See ``Proposer``; a Gaussian process, once ``startup_trials`` trials have ended, of ``_TOLD`` of them at most.

    KerasTuner guesses the scores of running trials with whatever process it fitted last; here that is one
    fitted to the trials that have ended, so that the guess depends on the past alone.
    """

    def _oracle(self, **common: Any) -> Any:
        startup = self._task.config.study.startup_trials
        return BayesianOptimizationOracle(max_trials=None, num_initial_points=startup, **common)

    def _restore(self, oracle: Any, past: Sequence[Past]) -> None:
        running = {number for number, earlier in enumerate(past) if earlier.standing == "running"}
        told = sorted({*telling(past, max(_TOLD, self._task.config.study.startup_trials)), *running})
        super()._restore(oracle, [past[number] for number in told])
        trials, ongoing = oracle.trials, oracle.ongoing_trials
        ended = {key: trial for key, trial in trials.items() if trial.status == "COMPLETED"}
        if ongoing and len(ended) >= oracle.num_initial_points:
            oracle.trials, oracle.ongoing_trials = ended, {}
            oracle.gpr.fit(*oracle._vectorize_trials())
            oracle.trials, oracle.ongoing_trials = trials, ongoing

    def _populate(self, oracle: Any, trial_id: str) -> Any:
        """A process that repeats itself, which KerasTuner allows, makes way for a random draw."""
        answer = super()._populate(oracle, trial_id)
        repeats = answer["values"] is not None and oracle._duplicate(answer["values"])
        return oracle._random_populate_space() if repeats else answer


class HyperbandProposer(RandomProposer):
    """See ``Proposer``; Hyperband, one iteration after the other for as long as it is asked.

    Each of its trials is a proposal with the epochs of its round, and a net that goes on to the next round
    is a new proposal with more of them. KerasTuner lets such a net go on from its weights; here it is
    trained anew, under a schedule for all of its epochs. That takes up to 1/(reduction - 1) more epochs in
    all, and makes each trial one that can be repeated by itself.

    Raises:
        UsageError: The epochs are searched.
    """

    def __init__(self, task: Task) -> None:
        config = task.config
        if isinstance(config.space.get("epochs"), Domain) or any("epochs" in case for case in config.cases.values()):
            raise UsageError("Hyperband chooses the epochs, but the sweep searches them; valid: one number for epochs")
        super().__init__(task)

    def _oracle(self, **common: Any) -> Any:
        config = self._task.config
        factor = config.fidelity.reduction
        return HyperbandOracle(max_epochs=config.epochs, factor=factor, hyperband_iterations=None, **common)

    def _restore(self, oracle: Any, past: Sequence[Past]) -> None:
        """Fills the brackets in the proposals' order; a net that was there before has gone on to its next round.

        A net that failed is the worst of its round: without it the round would count as unfinished for ever.
        """
        super()._restore(oracle, past)
        for trial in oracle.trials.values():
            if trial.status == _FAILED:
                trial.status, trial.score = "COMPLETED", -math.inf
        latest: dict[str, tuple[str, Any, int]] = {}
        for number, net in enumerate(self._prints.all(past)):
            before = None
            if net in latest:
                before, bracket, place = latest[net]
            else:
                bracket, place = oracle._brackets[-1], 0
                if len(bracket["rounds"][0]) >= oracle._get_size(bracket["bracket_num"], 0):
                    oracle._increment_bracket_num()
                    oracle._start_new_bracket()
                    bracket = oracle._brackets[-1]
            latest[net] = str(number), bracket, place + 1
            bracket["rounds"][place].append({"past_id": before, "id": str(number)})

    def _populate(self, oracle: Any, trial_id: str) -> Any:
        """Where the space has no net left for the last bracket's first round, that is as large as it has come."""
        answer, size = super()._populate(oracle, trial_id), oracle._get_size
        if answer["status"] == "RUNNING":
            return answer
        bracket = oracle._brackets[-1]
        number, first = bracket["bracket_num"], bracket["rounds"][0]
        come = sum(oracle.trials[it["id"]].score != -math.inf for it in first)  # without those that failed
        alone = sum(it["bracket_num"] == number for it in oracle._brackets) == 1
        if not alone or not come or len(first) >= size(number, 0):
            return answer
        factor = self._task.config.fidelity.reduction

        def fewer(bracket_num: int, round_num: int) -> int:
            full = int(size(bracket_num, round_num))
            return min(math.ceil(come / factor**round_num), full) if bracket_num == number else full

        oracle._get_size = fewer
        return super()._populate(oracle, trial_id)

    def _proposal(self, oracle: Any, values: dict[str, Any]) -> Proposal:
        found = super()._proposal(oracle, values)
        first_round = oracle._get_epochs(oracle._current_bracket, 0)
        return replace(found, train=replace(found.train, epochs=values.get("tuner/epochs", first_round)))

    def _net(self, proposal: Proposal) -> str:
        return fingerprint(proposal.arch, replace(proposal.train, epochs=self._task.config.epochs))


PROPOSERS = {
    "keras-tuner-random": RandomProposer,
    "keras-tuner-bayesian": BayesianProposer,
    "keras-tuner-hyperband": HyperbandProposer,
}


@dataclass(frozen=True, slots=True)
class _Listed:
    """One of these; to KerasTuner their places, as its choices may not be mixed or bool and its steps miss the end."""

    members: Sequence[Scalar]

    def declare(self, hyperparameters: Any, name: str) -> None:
        hyperparameters.Int(name, 0, len(self.members) - 1)

    def anyone(self, drawing: random.Random) -> Scalar:
        return drawing.choice(self.members)

    def ours(self, place: int | None) -> Scalar:
        return self.members[place or 0]

    def theirs(self, value: Scalar) -> int:
        if isinstance(self.members, range):
            return self.members.index(int(value))
        return [repr(member) for member in self.members].index(repr(value))  # True is not 1


@dataclass(frozen=True, slots=True)
class _Ranged:
    """A number in between, whole if its ends are; KerasTuner's may be NumPy's, and just outside."""

    low: int | float
    high: int | float
    log: bool

    def declare(self, hyperparameters: Any, name: str) -> None:
        sort = hyperparameters.Int if isinstance(self.low, int) else hyperparameters.Float
        sort(name, self.low, self.high, sampling="log" if self.log else "linear")

    def anyone(self, drawing: random.Random) -> Scalar:
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return drawing.randint(int(self.low), int(self.high)) if whole else drawing.uniform(self.low, self.high)

    def ours(self, value: float | None) -> Scalar:
        return self.low if value is None else type(self.low)(min(max(self.low, value), self.high))

    def theirs(self, value: Scalar) -> Scalar:
        return value


class _Walker:
    """A ``Suggest`` that asks one function for every sort of value."""

    def __init__(self, ask: Callable[[str, _Listed | _Ranged], Any]) -> None:
        self._ask = ask

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        return self._ask(name, _Listed(choices))  # type: ignore[no-any-return]

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return int(self._ask(name, _Ranged(low, high, log) if log else _Listed(range(low, high + 1, step))))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        return float(self._ask(name, _Listed(space.steps(low, high, step)) if step else _Ranged(low, high, log)))
