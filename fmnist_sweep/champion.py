"""Who wins the finals: a rule on what they found, and the model that stands for the winner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fmnist_sweep.finals import is_trial, job_key
from fmnist_sweep.standings import Findings, Standing
from fmnist_sweep.state import StudyState
from fmnist_sweep.stats import smallest_p
from fmnist_sweep.verdicts import LEVEL


@dataclass(frozen=True, slots=True)
class Champion:
    """The net that wins the finals, and one of its models.

    Attributes:
        name: Of the net, as in ``trial-7`` or ``lab-cnn3``.
        seed: The final's that the model is of.
        job: That final.
        val_accuracy: Of the net: the mean of its finals after their last epoch, 0 to 1.
        why: For people, as part of a sentence.
    """

    name: str
    seed: int
    job: str
    val_accuracy: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def choose(findings: Findings, state: StudyState, left_out: Iterable[str] = ()) -> Champion:
    """Names the champion.

    The rule. A finalist that the verdicts call better than every one of the lab's nets wins, the leader by validation
    before others. If there is none, the smallest net wins: of the leader and the lab's nets, those that no verdict
    calls worse than another of them, the one with the fewest parameters (what can't be told apart should not cost
    more). A net that is worse than another of these never wins. Where there are too few seeds for any verdict at all,
    nobody is found worse than anybody, and the highest mean validation accuracy decides instead.

    The model is the one whose seed has the highest validation accuracy after the last epoch; the test set has no
    say in it.

    Args:
        findings: Of the finals.
        state: Of the study.
        left_out: Names of nets that could not be judged.
    """
    winner, why = _winner(findings, all_labs=all(is_trial(name) for name in left_out))
    accuracies = {
        seed: state.jobs[job_key(winner.contender.name, seed)].reports[-1].val_accuracy for seed in findings.seeds
    }
    seed = max(accuracies, key=lambda it: accuracies[it])
    final = state.jobs[job_key(winner.contender.name, seed)]
    return Champion(winner.contender.name, seed, final.same_as or final.key, winner.val_accuracy, why)


def _winner(findings: Findings, *, all_labs: bool) -> tuple[Standing, str]:
    labs = "each of the lab's nets" + ("" if all_labs else " that could be judged")
    leader = findings.standings[0]
    rivals = [it for it in findings.standings if not is_trial(it.contender.name) or it.contender.name in findings.labs]
    finalists = [it for it in findings.standings if it not in rivals]
    better = {(pair.a, pair.b) for pair in findings.pairs if pair.verdict == "better"}
    better |= {(pair.b, pair.a) for pair in findings.pairs if pair.verdict == "worse"}
    for it in finalists:
        if all((it.contender.name, rival.contender.name) in better for rival in rivals):
            return it, f"better than {labs}" if rivals else "there is no net of the lab's beside it"
    beside = [leader, *(it for it in rivals if it is not leader)]
    seeds = len(findings.seeds)
    if smallest_p(seeds) > LEVEL:
        first = max(beside, key=lambda it: it.val_accuracy)
        few = f"{seeds} seed{'s' * (seeds != 1)} can't show any difference"
        return first, f"{few}, so validation decides: {100 * first.val_accuracy:.2f} %, the highest mean"
    names = [it.contender.name for it in beside]
    unbeaten = [it for it in beside if not any((name, it.contender.name) in better for name in names)]
    first, *others = sorted(unbeaten, key=lambda it: it.parameters)
    reason = "it alone is worse than none of the others"
    if others:
        larger = ", ".join(f"{it.contender.name} ({it.parameters:,})" for it in others)
        reason = (
            f"of those that are worse than none, its {first.parameters:,} parameters are the fewest, before {larger}"
        )
    return first, f"no finalist is better than {labs}; {reason}"
