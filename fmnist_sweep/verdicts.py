"""Verdicts: which of two nets is better, if that can be told, and what becomes of the lab's three claims.

The rule. A net is ``better`` where both hold:

- ``p_value`` is below 0.05. It is the larger of two p-values, each adjusted over the whole family of pairs
  (an intersection-union test: Berger, Technometrics 24, 1982). ``p_flips``: would other seeds show it on
  these images? Exact sign flips over the seeds, by step-down (``stats.step_down_p``). ``p_two_way``: would it
  hold for other images too? Student's t of the two-way standard error, by Holm; of nets that differ on a
  handful of images alone, for which t is no match, at least ``counts.few_images_p``. The first assumes no
  distribution but takes the test images as given; the second is the other way round.
- The 95 % interval of the pair (over seeds x images) does not hold 0, so that what is shown agrees.

``worse`` is ``better`` seen from the other side; all else is ``not distinguishable``, which does not mean equal:
``minimum_detectable_difference`` is what so many seeds could have shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from fmnist_sweep import counts, stats
from fmnist_sweep.counts import McNemar
from fmnist_sweep.errors import UsageError
from fmnist_sweep.stats import Correct, Interval
from fmnist_sweep.wording import points, probability

Outcome = Literal["better", "worse", "not distinguishable"]
ClaimOutcome = Literal["supported", "refuted", "not decided"]

LEVEL = 0.05
ALMOST_FOUR = (0.035, 0.04)
ONE_POINT = 0.01
_OPPOSITE: dict[Outcome, Outcome] = {"better": "worse", "worse": "better", "not distinguishable": "not distinguishable"}


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Net ``a`` beside net ``b``; accuracies and differences are fractions.

    Attributes:
        a: Name of the first net.
        b: Name of the second.
        verdict: On ``a``: better, worse or not distinguishable.
        mean_difference: Mean accuracy of ``a`` less that of ``b``.
        ci_low: Lower end of the pair's own 95 % interval.
        ci_high: Upper end.
        p_value: The larger of ``p_flips`` and ``p_two_way``; the verdict rests on it.
        p_flips: Sign flips over the seeds, adjusted over the family by step-down.
        p_two_way: Student's t over seeds and images, adjusted over the family by Holm.
        p_raw: Exact sign-flip p-value of this pair alone.
        p_holm: ``p_raw`` adjusted by Holm; with 6 seeds never below family / 32, so nothing rests on it.
        family: Pairs judged together.
        seeds: Of each net.
        images: Of the test set.
        superiority: Chance that a run of ``a`` beats one of ``b``, ties counted half.
        mcnemar: All seeds pooled; its p-value is too small, as every image counts once for each seed.
        minimum_detectable_difference: What so many seeds show 4 times in 5; None where they can show nothing, or where
            no run differs from another, which leaves nothing to reckon it from.
    """

    a: str
    b: str
    verdict: Outcome
    mean_difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_flips: float
    p_two_way: float
    p_raw: float
    p_holm: float
    family: int
    seeds: int
    images: int
    superiority: float
    mcnemar: McNemar
    minimum_detectable_difference: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def swapped(self) -> PairVerdict:
        """The same comparison seen from ``b``."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            verdict=_OPPOSITE[self.verdict],
            mean_difference=-self.mean_difference,
            ci_low=-self.ci_high,
            ci_high=-self.ci_low,
            superiority=1 - self.superiority,
            mcnemar=replace(self.mcnemar, only_a=self.mcnemar.only_b, only_b=self.mcnemar.only_a),
        )

    @property
    def figures(self) -> str:
        """Difference, interval, p-value and seeds, in points, as part of a sentence."""
        return (
            f"{points(self.mean_difference)} points (95 % interval {points(self.ci_low)} to "
            f"{points(self.ci_high)}, p {probability(self.p_value)}, {self.seeds} seeds)"
        )

    @property
    def reach(self) -> str:
        """What so many seeds could have shown, as part of a sentence."""
        smallest = self.minimum_detectable_difference
        if smallest is None and stats.smallest_p(self.seeds) > LEVEL:
            return f"{self.seeds} seeds can't show any difference at the 5 % level"
        if smallest is None:
            return f"no run differs from another, so what {self.seeds} seeds would show can't be told"
        return f"{self.seeds} seeds would show {100 * smallest:.2f} points 4 times in 5"


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the lab's claims.

    Attributes:
        claim: What the lab says.
        verdict: Supported, refuted or not decided.
        why: One sentence with the figures.
    """

    claim: str
    verdict: ClaimOutcome
    why: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types."""
        return asdict(self)


def pair_verdict(a: Correct, b: Correct, *, names: tuple[str, str] = ("a", "b"), draws: int = 10_000) -> PairVerdict:
    """The verdict on two nets that are the whole family; see ``compare_all``."""
    return compare_all({names[0]: a, names[1]: b}, [names], draws=draws)[0]


def compare_all(
    nets: Mapping[str, Correct], pairs: Sequence[tuple[str, str]], *, draws: int = 10_000, seed: int = 0
) -> tuple[PairVerdict, ...]:
    """Verdicts on ``pairs``, which are one family; a net and one that is the same net have no place in it.

    Args:
        nets: bool arrays of shape (seeds, images) by name, all paired.
        pairs: Names, two different ones each.
        draws: Of each bootstrap.
        seed: Of the bootstrap and, beyond 20 seeds, of the random signs.

    Raises:
        UsageError: A name that is not in ``nets``, a net beside itself, or arrays that are not paired.
    """
    for a, b in pairs:
        unknown = [name for name in (a, b) if name not in nets]
        if unknown:
            raise UsageError(f"net {unknown[0]!r} has no predictions; valid: {', '.join(nets)}")
        if a == b:
            raise UsageError(f"net {a!r} is paired with itself; valid: two different nets")
    if not pairs:
        return ()
    intervals = [stats.paired_bootstrap(nets[a], nets[b], draws=draws, level=1 - LEVEL, seed=seed) for a, b in pairs]
    differences = np.stack([stats.accuracy(nets[a]) - stats.accuracy(nets[b]) for a, b in pairs], axis=1)
    few = [counts.few_images_p(nets[a], nets[b]) for a, b in pairs]
    two_way = [max(stats.two_way_p(interval), least) for interval, least in zip(intervals, few, strict=True)]
    p_values = _p_values(differences, two_way, seed)
    return tuple(
        _verdict(names, nets[names[0]], nets[names[1]], interval, p)
        for names, interval, p in zip(pairs, intervals, p_values, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _PValues:
    """The p-values of one pair, as ``PairVerdict`` has them."""

    flips: float
    two_way: float
    raw: float
    holm: float
    family: int


def _p_values(differences: stats.Floats, two_way: Sequence[float], seed: int) -> list[_PValues]:
    """One for each pair; ``differences`` has shape (seeds, pairs), ``two_way`` is not adjusted yet."""
    flips = stats.step_down_p(differences, seed=seed)
    raw = [stats.sign_flip_p(column, seed=seed) for column in differences.T]
    return [
        _PValues(*values, len(raw)) for values in zip(flips, stats.holm(two_way), raw, stats.holm(raw), strict=True)
    ]


def _verdict(names: tuple[str, str], a: Correct, b: Correct, interval: Interval, p: _PValues) -> PairVerdict:
    seeds, images = a.shape
    p_value = max(p.flips, p.two_way)
    shown = p_value < LEVEL and (interval.low > 0 or interval.high < 0)
    sd, freedom = interval.standard_error * math.sqrt(seeds), interval.degrees_of_freedom
    smallest = stats.minimum_detectable_difference(sd, seeds, freedom=freedom, level=LEVEL, family=p.family)
    return PairVerdict(
        a=names[0],
        b=names[1],
        verdict="not distinguishable" if not shown else "better" if interval.estimate > 0 else "worse",
        mean_difference=interval.estimate,
        ci_low=interval.low,
        ci_high=interval.high,
        p_value=p_value,
        p_flips=p.flips,
        p_two_way=p.two_way,
        p_raw=p.raw,
        p_holm=p.holm,
        family=p.family,
        seeds=seeds,
        images=images,
        superiority=stats.probability_of_superiority(stats.accuracy(a), stats.accuracy(b)),
        mcnemar=counts.mcnemar(a, b),
        minimum_detectable_difference=smallest if math.isfinite(smallest) and sd > 0 else None,
    )


def claims(
    verdicts: Iterable[PairVerdict], *, epochs: Mapping[str, float], fingerprints: Mapping[str, str]
) -> tuple[Claim, Claim, Claim]:
    """What becomes of the lab's three claims.

    Args:
        verdicts: Among them the pairs lab-cnn1 and lab-mlp, lab-cnn3 and lab-cnn1, lab-cnn3-bn-as-intended and
            lab-cnn3, either way round; a claim whose pair is not there is not decided.
        epochs: Trained, by net.
        fingerprints: By net, of one seed (``arch.fingerprint``).
    """
    found = {(verdict.a, verdict.b): verdict for verdict in verdicts}
    found.update({(verdict.b, verdict.a): verdict.swapped() for verdict in found.values()})
    return (
        _convolution(found.get(("lab-cnn1", "lab-mlp")), epochs),
        _depth(found.get(("lab-cnn3", "lab-cnn1"))),
        _batch_norm(found.get(("lab-cnn3-bn-as-intended", "lab-cnn3")), fingerprints),
    )


def _convolution(pair: PairVerdict | None, epochs: Mapping[str, float]) -> Claim:
    claim = "the convolutional net beats the fully connected one by almost 4 points, in a tenth of the epochs"
    if pair is None:
        return Claim(claim, "not decided", "lab-cnn1 and lab-mlp were not compared.")
    (low, high), verdict = ALMOST_FOUR, _direction(pair)
    size = "less than" if pair.ci_high < low else "more than" if pair.ci_low > high else "compatible with"
    if verdict == "supported" and size != "compatible with":
        verdict = "refuted"
    few, many = epochs[pair.a], epochs[pair.b]
    budget = f"after {few:g} epochs against {many:g}" + ("" if few * 10 <= many else ", more than a tenth")
    return Claim(
        claim,
        verdict,
        f"{_told(pair)}, which is {size} almost 4 points ({100 * low:g} to {100 * high:g}), {budget}; "
        f"lab-mlp is a reconstruction, as the lab does not show its net{_reach(pair)}.",
    )


def _depth(pair: PairVerdict | None) -> Claim:
    claim = "two more convolutional layers raise accuracy, by less than a point"
    if pair is None:
        return Claim(claim, "not decided", "lab-cnn3 and lab-cnn1 were not compared.")
    verdict, size = _direction(pair), ""
    if verdict == "supported" and pair.ci_low >= ONE_POINT:
        verdict, size = "refuted", ": they raise it, but by more than a point"
    elif verdict == "supported" and pair.ci_high >= ONE_POINT:
        verdict, size = "not decided", ": they raise it, but whether by less than a point is open"
    return Claim(claim, verdict, f"{_told(pair)}{size}{_reach(pair)}.")


def _batch_norm(pair: PairVerdict | None, fingerprints: Mapping[str, str]) -> Claim:
    claim = "BatchNormalization raises accuracy a little"
    written = fingerprints.get("lab-cnn3-bn-as-written")
    same = written is not None and written == fingerprints.get("lab-cnn3")
    as_written = (
        "as written the net is lab-cnn3 itself (equal fingerprints), so the lab's 0.14 points lie between two runs of "
        "one net and say nothing of BatchNormalization; as intended, "
        if same
        else ""
    )
    if pair is None:
        return Claim(claim, "not decided", f"{as_written}lab-cnn3-bn-as-intended and lab-cnn3 were not compared.")
    return Claim(claim, _direction(pair), f"{as_written}{_told(pair)}{_reach(pair)}.")


def _direction(pair: PairVerdict) -> ClaimOutcome:
    outcomes: dict[Outcome, ClaimOutcome] = {"better": "supported", "worse": "refuted"}
    return outcomes.get(pair.verdict, "not decided")


def _told(pair: PairVerdict) -> str:
    link = "from" if pair.verdict == "not distinguishable" else "than"
    return f"{pair.a} is {pair.verdict} {link} {pair.b}: {pair.figures}"


def _reach(pair: PairVerdict) -> str:
    return f"; {pair.reach}" if pair.verdict == "not distinguishable" else ""
