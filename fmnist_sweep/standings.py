"""What the finals come to: how each net stands, and the verdicts on its pairs, from the ledger and nothing else.

Which finalist leads is decided by validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fmnist_sweep import arithmetic, lab, verdicts
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.errors import StudyError
from fmnist_sweep.finals import Contender, is_trial, job_key, listed, validation
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.stats import Correct
from fmnist_sweep.verdicts import Claim, PairVerdict

_CONVOLUTIONAL = ("lab-cnn1", "lab-cnn3", "lab-cnn3-bn-as-intended")
_CLAIMED = (("lab-cnn1", "lab-mlp"), ("lab-cnn3", "lab-cnn1"), ("lab-cnn3-bn-as-intended", "lab-cnn3"))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a contender did, over its seeds.

    Attributes:
        contender: The net.
        parameters: Of it.
        flops: Of one image.
        val_accuracy: Mean validation accuracy after the last epoch, 0 to 1.
        test_accuracy: By seed, 0 to 1.
        latency_ms: For one image, the median over seeds.
        batch_latency_ms: For 64 images, likewise.
        train_s: Mean seconds of training, on one worker.
        accuracy_without_duplicates: Mean test accuracy on images that the training file has no copy of; None where
            it is not known which these are.
    """

    contender: Contender
    parameters: int
    flops: int
    val_accuracy: float
    test_accuracy: tuple[float, ...]
    latency_ms: float
    batch_latency_ms: float
    train_s: float
    accuracy_without_duplicates: float | None = None

    @property
    def mean(self) -> float:
        """Mean test accuracy."""
        return float(np.mean(self.test_accuracy))

    @property
    def spread(self) -> float:
        """Standard deviation of the test accuracy over the seeds; 0 for one seed."""
        return float(np.std(self.test_accuracy, ddof=1)) if len(self.test_accuracy) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What the finals found.

    Attributes:
        standings: Finalists first, then the lab's nets, each best first by validation.
        seeds: That every net was trained under.
        pairs: Each finalist beside each of the lab's nets, and the pairs of the lab's claims.
        claims: The lab's three.
        openings: How often the test set was opened for this study.
        leader: The finalist that leads by validation.
        sentence: The verdict on it.
        without_duplicates: ``pairs`` judged on the images that the training file has no copy of; None where it is not
            known which these are.
        labs: Finalists that are one of the lab's nets.
        twins: By name of a net that has no results of its own, the one that is the same net.
    """

    standings: tuple[Standing, ...]
    seeds: tuple[int, ...]
    pairs: tuple[PairVerdict, ...]
    claims: tuple[Claim, ...]
    openings: int
    leader: str
    sentence: str
    without_duplicates: tuple[PairVerdict, ...] | None = None
    labs: tuple[str, ...] = ()
    twins: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> tuple[tuple[PairVerdict, PairVerdict], ...]:
        """Pairs whose verdict is another one without the duplicates, each with that other one."""
        both = zip(self.pairs, self.without_duplicates or self.pairs, strict=True)
        return tuple((found, apart) for found, apart in both if found.verdict != apart.verdict)


def recorded(state: StudyState) -> Findings | None:
    """What the last comparison found, from the ledger alone; None where there was none."""
    if state.compared is None:
        return None
    return judge(state, [Contender.from_dict(net) for net in state.compared["contenders"]], state.compared["seeds"])


def judge(state: StudyState, nets: Sequence[Contender], seeds: Sequence[int]) -> Findings:
    """The verdicts, from what the ledger holds and nothing else.

    Raises:
        StudyError: A net is not tested yet.
    """
    judged = [net for net in nets if not net.same_as]
    correct = {net.name: correct_of(state, net.name, seeds) for net in judged}
    apart = _without_duplicates(state, correct)
    standings = [_standing(state, net, seeds, apart) for net in judged]
    trials = sorted((it for it in standings if is_trial(it.contender.name)), key=_by_validation)
    rivals = sorted((it for it in standings if it not in trials), key=_by_validation)
    same = {net.name: net.same_as for net in nets if net.same_as}
    family = _family([it.contender.name for it in trials], [it.contender.name for it in rivals], same)
    pairs = verdicts.compare_all(correct, family)
    labs: dict[str, str] = {}
    for name, twin in same.items():
        if is_trial(twin):
            labs.setdefault(twin, name)  # of two lab's nets that are one, the one that the claims name
    told = verdicts.claims(
        [*pairs, *(replace(pair, a=labs.get(pair.a, pair.a), b=labs.get(pair.b, pair.b)) for pair in pairs)],
        epochs={net.name: float(net.train.epochs) for net in nets},
        fingerprints={net.name: fingerprint(net.arch, net.train.with_seed(0)) for net in nets},
    )
    leader = trials[0].contender.name
    return Findings(
        standings=(*trials, *rivals),
        seeds=tuple(seeds),
        pairs=pairs,
        claims=tuple(_elsewhere(claim, state, nets) for claim in told),
        openings=state.openings,
        leader=leader,
        sentence=_sentence(leader, [pair for pair in pairs if pair.a == leader], same),
        without_duplicates=None if apart is None else verdicts.compare_all(apart, family),
        labs=tuple(labs),
        twins=same,
    )


def _family(trials: Sequence[str], rivals: Sequence[str], same: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs that are judged together: each finalist beside each of the lab's nets, and the lab's claims.

    A finalist may be one of the lab's nets, which has no results of its own then: it stands for that in both.
    """
    names = {*trials, *rivals}
    wanted = [(ours, theirs) for ours in trials for theirs in rivals]
    wanted += [(ours, twin) for ours in trials for twin in same.values() if is_trial(twin)]
    wanted += [(same.get(a, a), same.get(b, b)) for a, b in _CLAIMED]
    family: list[tuple[str, str]] = []
    for a, b in wanted:
        if a != b and {a, b} <= names and (a, b) not in family and (b, a) not in family:
            family.append((a, b))
    return family


def _elsewhere(claim: Claim, state: StudyState, nets: Sequence[Contender]) -> Claim:
    """The lab's claims are about its own data and protocol: what others come to is told, and decides nothing."""
    name = state.study.get("data_set", {}).get("name", FASHION_MNIST.name)
    images = state.study.get("train_images", lab.TRAIN_IMAGES)
    epochs = {net.train.epochs for net in nets if net.name in _CONVOLUTIONAL}
    if name != FASHION_MNIST.name:
        why = f"it is a claim about Fashion-MNIST; on {name}, {claim.why}"
    elif images != lab.TRAIN_IMAGES or epochs - {lab.PROTOCOL.epochs}:
        meant = f"{lab.PROTOCOL.epochs} epochs of {lab.TRAIN_IMAGES:,} images"
        here = f"{' or '.join(map(str, sorted(epochs))) or 'no'} of {images:,}"
        why = f"it is a claim about {meant}; here, after {here}, {claim.why}"
    else:
        return claim
    return replace(claim, verdict="not decided", why=why)


def runs(state: StudyState, findings: Findings) -> dict[str, JobRecord]:
    """Every final that was judged, by net and seed, as in ``lab-cnn3-seed2``."""
    return {
        f"{it.contender.name}-seed{seed}": state.jobs[job_key(it.contender.name, seed)]
        for it in findings.standings
        for seed in findings.seeds
    }


def _without_duplicates(state: StudyState, correct: Mapping[str, Correct]) -> dict[str, Correct] | None:
    """``correct`` without the images that the training file holds too.

    None where these are not known, or leave fewer than two.
    """
    if state.duplicates is None:
        return None
    kept = np.ones(next(iter(correct.values())).shape[1], dtype=bool)
    kept[state.duplicates["test"]] = False
    return {name: hits[:, kept] for name, hits in correct.items()} if kept.sum() > 1 else None


def _by_validation(standing: Standing) -> float:
    return -standing.val_accuracy


def correct_of(state: StudyState, name: str, seeds: Sequence[int]) -> Correct:
    """Which test images a net classifies correctly, shape (seeds, images).

    Raises:
        StudyError: It is not tested under all of them.
    """
    rows = []
    for seed in seeds:
        job = state.jobs.get(job_key(name, seed))
        if job is None or job.tested is None:
            raise StudyError(f"{job_key(name, seed)} is not tested yet; run compare again")
        rows.append(job.tested.hits())
    return np.stack(rows)


def _standing(state: StudyState, net: Contender, seeds: Sequence[int], apart: Mapping[str, Correct] | None) -> Standing:
    jobs = [state.jobs[job_key(net.name, seed)] for seed in seeds]
    tested = [job.tested for job in jobs if job.tested is not None]
    cost = arithmetic.cost(net.arch)
    return Standing(
        contender=net,
        parameters=cost.parameters,
        flops=cost.flops,
        val_accuracy=validation(state, net.name, seeds),
        test_accuracy=tuple(found.accuracy for found in tested),
        latency_ms=float(np.median([found.latency_ms for found in tested])),
        batch_latency_ms=float(np.median([found.batch_latency_ms for found in tested])),
        train_s=float(np.mean([job.result.train_s for job in jobs if job.result is not None])),
        accuracy_without_duplicates=None if apart is None else float(apart[net.name].mean()),
    )


def _sentence(leader: str, pairs: Sequence[PairVerdict], same: dict[str, str]) -> str:
    """What the leader's pairs come to, for people."""
    by = {outcome: [pair.b for pair in pairs if pair.verdict == outcome] for outcome in ("better", "worse")}
    open_ = [pair.b for pair in pairs if pair.verdict == "not distinguishable"]
    told = [f"{outcome} than {listed(names)}" for outcome, names in by.items() if names]
    told += [f"not distinguishable from {listed(open_)}"] if open_ else []
    twins = [f"{name} is {twin}, the same net" for name, twin in same.items()]
    text = f"{leader} is {', '.join(told) or 'compared with nothing'}"
    return f"{text} ({'; '.join(twins)})" if twins else text
