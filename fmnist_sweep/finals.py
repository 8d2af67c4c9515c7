"""The finals: the best trials and the lab's nets, trained anew on the same seeds, then judged on the test set.

The seeds are others than the search's, so that no finalist brings the luck that it was chosen for. A net is
judged as it is after its last epoch, as in the lab, and not after the epoch that validation likes best. Which
finalist leads is decided by validation; the test set is opened once, for all nets together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as count_from
from itertools import islice
from typing import Any

import numpy as np

from fmnist_sweep import arithmetic, verdicts
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.data import FASHION_MNIST, DataSource, PreparedData
from fmnist_sweep.errors import StudyError, UsageError
from fmnist_sweep.executors.local import call
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.stats import Correct
from fmnist_sweep.testing import Candidate, score
from fmnist_sweep.trial import Extra
from fmnist_sweep.verdicts import Claim, PairVerdict

TOP = 3
SEEDS = 6
_CLAIMED = (("lab-cnn1", "lab-mlp"), ("lab-cnn3", "lab-cnn1"), ("lab-cnn3-bn-as-intended", "lab-cnn3"))


@dataclass(frozen=True, slots=True)
class Contender:
    """A net in the finals.

    Attributes:
        name: ``trial-7`` or the lab's name.
        arch: The net.
        train: The recipe; its seed is set for each final.
        searched: Its validation accuracy in the search, under one seed, 0 to 1; None where it had none.
        same_as: The contender that is the very same net, which is trained and judged once.
    """

    name: str
    arch: ArchSpec
    train: TrainSpec
    searched: float | None
    same_as: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "arch": self.arch.to_dict(), "train": self.train.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Contender:
        """The inverse of ``to_dict``."""
        arch, train = ArchSpec.from_dict(values["arch"]), TrainSpec.from_dict(values["train"])
        return cls(**{**values, "arch": arch, "train": train})


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

    @property
    def changed(self) -> tuple[tuple[PairVerdict, PairVerdict], ...]:
        """Pairs whose verdict is another one without the duplicates, each with that other one."""
        both = zip(self.pairs, self.without_duplicates or self.pairs, strict=True)
        return tuple((found, apart) for found, apart in both if found.verdict != apart.verdict)


def contenders(state: StudyState, top: int, variants: Iterable[Variant]) -> list[Contender]:
    """The best ``top`` complete trials, see ``StudyState.finalists``, and the lab's nets, each net once.

    Raises:
        StudyError: No trial is complete yet.
    """
    finalists = state.finalists()
    if not finalists:
        raise StudyError(f"study {state.study['name']!r} has no complete trial to compare yet; run it first")
    found: list[Contender] = []
    for job in finalists:
        if len(found) < top and not any(_alike(other, job) for other in found):
            found.append(Contender(f"trial-{job.number}", job.arch, job.train, job.best))
    for variant in variants:
        known = state.jobs.get(variant.name)
        twin = next((other.name for other in found if _alike(other, variant) and not other.same_as), "")
        searched = known.best if known else None
        found.append(Contender(variant.name, variant.arch, variant.train, searched, twin))
    return found


def _alike(contender: Contender, other: Variant | JobRecord) -> bool:
    return contender.arch == other.arch and contender.train.with_seed(0) == other.train.with_seed(0)


def extras(nets: Sequence[Contender], seeds: Sequence[int]) -> list[Extra]:
    """The jobs of the finals: seed by seed, so that an interrupted comparison has whole seeds."""
    return [
        Extra(job_key(net.name, seed), "final", net.arch, net.train.with_seed(seed))
        for seed in seeds
        for net in nets
        if not net.same_as
    ]


def job_key(name: str, seed: int) -> str:
    """The job that trains a contender under a seed."""
    return f"final-{name}-seed{seed}"


def seeds_of(state: StudyState, count: int) -> tuple[int, ...]:
    """``count`` seeds above all that the search has trained under: a sweep may search over seeds too.

    A seed under which the machine failed a final gives its place to the next, for all nets. One under which a net
    diverged does not: that is what the net does, see ``diverged``.

    Raises:
        UsageError: Fewer than two.
    """
    if count < 2:
        raise UsageError(f"--seeds is {count}; valid: 2 or more, as one seed can't tell a gain from luck")
    first = 1 + max(int(state.study["seed"]), max((job.train.seed for job in state.trials()), default=0))
    lost = {job.train.seed for job in state.of_kind("final") if job.state == "failed" and not _diverged(job)}
    return tuple(islice((seed for seed in count_from(first) if seed not in lost), count))


def _diverged(job: JobRecord) -> bool:
    return job.reason.startswith("diverged")


def diverged(state: StudyState, nets: Sequence[Contender], seeds: Sequence[int]) -> dict[str, str]:
    """The nets that can't be judged, as a training of theirs diverged: by name, a sentence on each."""
    found = {}
    for net in nets:
        jobs = {seed: state.jobs.get(job_key(net.same_as or net.name, seed)) for seed in seeds}
        lost = [f"{seed}" for seed, job in jobs.items() if job is not None and job.state == "failed" and _diverged(job)]
        if lost:
            found[net.name] = f"{net.name} diverged under seed {_listed(lost)}, so it is not judged"
    return found


def test(
    nets: Sequence[Contender],
    seeds: Sequence[int],
    ledger: Ledger,
    folder: StudyFolder,
    source: DataSource,
    data: PreparedData,
) -> None:
    """Scores what is trained and not tested yet, opening the test set once for all of it.

    The true classes, the images that the training file holds too, and what the leader gets wrong are recorded from
    the same opening.

    Raises:
        StudyError: A final has failed.
    """
    state = StudyState.of(ledger.events())
    jobs = [state.jobs[extra.key] for extra in extras(nets, seeds)]
    failed = [job for job in jobs if job.state != "complete"]
    if failed:
        raise StudyError(
            f"{failed[0].key} is {failed[0].state}: {failed[0].reason or 'not trained'}; nothing is judged; the same "
            "command trains all nets under another seed instead"
        )
    waiting = {job.key for job in jobs if job.tested is None}
    if not waiting:
        return
    leader = max((net.name for net in nets if is_trial(net.name)), key=lambda name: _validation(state, name, seeds))
    leading = {job_key(leader, seed) for seed in seeds}
    candidates = [_candidate(state, job, folder, job.key in leading) for job in jobs if job.key in waiting | leading]
    ledger.append("opened", "", state.openings, nets=len(waiting))
    opened = call(score, candidates, source, data, state.duplicates is None, log=folder.log)
    ledger.append("test_set", labels=opened.labels)
    if opened.duplicates is not None:
        ledger.append("duplicates", **asdict(opened.duplicates))
    ledger.append("mistakes", "", state.openings, net=leader, seeds=len(seeds), images=opened.mistakes)
    for key, result in opened.scores.items():
        ledger.append("tested", key, **asdict(result))


def _validation(state: StudyState, name: str, seeds: Sequence[int]) -> float:
    """Mean validation accuracy after the last epoch."""
    return float(np.mean([state.jobs[job_key(name, seed)].reports[-1].val_accuracy for seed in seeds]))


def _candidate(state: StudyState, job: JobRecord, folder: StudyFolder, leads: bool) -> Candidate:
    trained = state.jobs[job.same_as] if job.same_as else job
    sha256 = trained.result.weights_sha256 if trained.result else ""
    return Candidate(job.key, job.arch, folder.job(trained.key) / "weights.npz", sha256, leads)


def record(ledger: Ledger, nets: Sequence[Contender], seeds: Sequence[int], champion: dict[str, Any]) -> None:
    """Records who was compared under which seeds, and who won; nothing where that is recorded already."""
    body = {"contenders": [net.to_dict() for net in nets], "seeds": list(seeds), "champion": champion}
    state = StudyState.of(ledger.events())
    if state.compared != json.loads(json.dumps(body)):
        ledger.append("compared", "", state.seq, **body)


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
    correct = {net.name: _correct(state, net, seeds) for net in judged}
    apart = _without_duplicates(state, correct)
    standings = [_standing(state, net, seeds, apart) for net in judged]
    trials = sorted((it for it in standings if is_trial(it.contender.name)), key=_by_validation)
    rivals = sorted((it for it in standings if it not in trials), key=_by_validation)
    same = {net.name: net.same_as for net in nets if net.same_as}
    family = _family([it.contender.name for it in trials], [it.contender.name for it in rivals], same)
    pairs = verdicts.compare_all(correct, family)
    labs = {twin: name for name, twin in same.items() if is_trial(twin)}
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
        claims=tuple(_elsewhere(claim, state) for claim in told),
        openings=state.openings,
        leader=leader,
        sentence=_sentence(leader, [pair for pair in pairs if pair.a == leader], same),
        without_duplicates=None if apart is None else verdicts.compare_all(apart, family),
        labs=tuple(labs),
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


def _elsewhere(claim: Claim, state: StudyState) -> Claim:
    """The lab's claims are about its own data: another set's figures are told, and decide nothing."""
    name = state.study.get("data_set", {}).get("name", FASHION_MNIST.name)
    if name == FASHION_MNIST.name:
        return claim
    why = f"it is a claim about Fashion-MNIST; on {name}, {claim.why}"
    return replace(claim, verdict="not decided", why=why)


def runs(state: StudyState, findings: Findings) -> dict[str, JobRecord]:
    """Every final that was judged, by net and seed, as in ``lab-cnn3-seed2``."""
    return {
        f"{it.contender.name}-seed{seed}": state.jobs[job_key(it.contender.name, seed)]
        for it in findings.standings
        for seed in findings.seeds
    }


def is_trial(name: str) -> bool:
    """Whether a contender is one of the search's, and not the lab's."""
    return name.startswith("trial-")


def _without_duplicates(state: StudyState, correct: Mapping[str, Correct]) -> dict[str, Correct] | None:
    """``correct`` without the images that the training file holds too; None where these are not known, or all."""
    if state.duplicates is None:
        return None
    kept = np.ones(next(iter(correct.values())).shape[1], dtype=bool)
    kept[state.duplicates["test"]] = False
    return {name: hits[:, kept] for name, hits in correct.items()} if kept.any() else None


def _by_validation(standing: Standing) -> float:
    return -standing.val_accuracy


def _correct(state: StudyState, net: Contender, seeds: Sequence[int]) -> Correct:
    """Which test images are classified correctly, shape (seeds, images)."""
    rows = []
    for seed in seeds:
        job = state.jobs.get(job_key(net.name, seed))
        if job is None or job.tested is None:
            raise StudyError(f"{job_key(net.name, seed)} is not tested yet; run compare again")
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
        val_accuracy=_validation(state, net.name, seeds),
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
    told = [f"{outcome} than {_listed(names)}" for outcome, names in by.items() if names]
    told += [f"not distinguishable from {_listed(open_)}"] if open_ else []
    twins = [f"{name} is {twin}, the same net" for name, twin in same.items()]
    text = f"{leader} is {', '.join(told) or 'compared with nothing'}"
    return f"{text} ({'; '.join(twins)})" if twins else text


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
