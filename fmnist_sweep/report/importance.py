"""Which settings the score depends on, by Optuna's importances over the trials in the ledger.

Trials that were stopped early have no final score, and leaving them out would leave only good trials, so all
are taken at the lowest rung: the one report point that they share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from fmnist_sweep.proposers.optuna import distributions
from fmnist_sweep.pruning import score_at
from fmnist_sweep.report.parts import Missing, counted
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import StudyState

FEWEST = 20
_REDRAWN = 10
_TREES = 32


@dataclass(frozen=True, slots=True)
class Share:
    """What one setting explains.

    Attributes:
        name: As the sweep has it; a setting of each block with the block's number.
        share: Of the variance of the score that the settings explain together, 0 to 1.
        low: The smallest share, with the trials drawn again (with replacement) several times.
        high: The largest.
    """

    name: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Importances:
    """The importances of a search.

    Attributes:
        epoch: Epochs after which the scores are taken.
        trials: That they rest on.
        shares: Most important first.
        left_out: Settings that not every trial has, as the filters of a third block.
    """

    epoch: float
    trials: int
    shares: tuple[Share, ...]
    left_out: tuple[str, ...]


def importances(state: StudyState) -> Importances | Missing:
    """Functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown, ICML 2014)."""
    trials = [job for job in state.trials() if job.reports and not job.same_as]
    if len(trials) < FEWEST:
        return Missing(
            f"With {counted(len(trials), 'trial')} this would be guesswork; from {FEWEST} on it is worked out."
        )
    epoch = min(job.reports[0].epoch for job in trials)
    config = SweepConfig.model_validate(state.study["config"])
    told = []
    for job in trials:
        score = score_at(job, epoch)
        if score is not None and math.isfinite(score):
            known = distributions(config, job.drawn, input_shape=job.arch.input_shape, classes=job.arch.classes)
            told.append(optuna.create_trial(value=score, params=job.drawn, distributions=known))
    shared = set.intersection(*(set(trial.params) for trial in told)) if len(told) >= FEWEST else set()
    varied = [name for name in sorted(shared) if len({trial.params[name] for trial in told}) > 1]
    if not varied or len({trial.value for trial in told}) == 1:
        return Missing("No setting varies over the trials that could be told apart by their scores.")
    whole = _shares(told, varied)
    rng = random.Random(0)
    drawn = [whole, *(_shares(rng.choices(told, k=len(told)), varied) for _ in range(_REDRAWN))]
    shares = [Share(name, whole[name], min(it[name] for it in drawn), max(it[name] for it in drawn)) for name in varied]
    every = {name for trial in told for name in trial.params}
    return Importances(epoch, len(told), tuple(sorted(shares, key=lambda it: -it.share)), tuple(sorted(every - shared)))


def _shares(trials: Sequence[FrozenTrial], names: list[str]) -> dict[str, float]:
    """The share of each setting; all 0 where the scores of these trials are all the same."""
    if len({trial.value for trial in trials}) == 1:
        return dict.fromkeys(names, 0.0)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=0)
    return {
        name: float(share) for name, share in get_param_importances(study, evaluator=evaluator, params=names).items()
    }
