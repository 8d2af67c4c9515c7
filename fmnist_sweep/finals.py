"""The finals: the best trials and the lab's nets, trained anew on the same seeds, then scored on the test set.

The seeds are others than the search's, so that no finalist brings the luck that it was chosen for. A net is
judged as it is after its last epoch, as in the lab, and not after the epoch that validation likes best. The test set
is opened once, for all nets together. ``standings`` says what they come to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from fmnist_sweep.arch import ArchSpec, TrainSpec, seeds_from
from fmnist_sweep.data import DataSource, PreparedData
from fmnist_sweep.errors import StudyError, UsageError
from fmnist_sweep.executors.local import call
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.testing import Candidate, check, score
from fmnist_sweep.trial import Extra


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
    """``count`` seeds that the search has not trained under, from the one above its highest on and around: a sweep may
    search over seeds too.

    A seed under which the machine failed a final gives its place to the next, for all nets. One under which a net
    diverged does not: that is what the net does, see ``diverged``.

    Raises:
        UsageError: Fewer than two.
    """
    if count < 2:
        raise UsageError(f"--seeds is {count}; valid: 2 or more, as one seed can't tell a gain from luck")
    used = {int(state.study["seed"]), *(job.train.seed for job in state.trials())}
    lost = {job.train.seed for job in state.of_kind("final") if job.state == "failed" and not _diverged(job)}
    return tuple(islice((seed for seed in seeds_from(1 + max(used)) if seed not in used | lost), count))


def _diverged(job: JobRecord) -> bool:
    return job.reason.startswith("diverged")


def diverged(state: StudyState, nets: Sequence[Contender], seeds: Sequence[int]) -> dict[str, str]:
    """The nets that can't be judged, as a training of theirs diverged: by name, a sentence on each."""
    found = {}
    for net in nets:
        jobs = {seed: state.jobs.get(job_key(net.same_as or net.name, seed)) for seed in seeds}
        lost = [f"{seed}" for seed, job in jobs.items() if job is not None and job.state == "failed" and _diverged(job)]
        if lost:
            found[net.name] = f"{net.name} diverged under seed {listed(lost)}, so it is not judged"
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
        ExportError: Weights that are missing or were altered; the test set is not opened then.
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
    leader = max((net.name for net in nets if is_trial(net.name)), key=lambda name: validation(state, name, seeds))
    leading = {key for key in (job_key(leader, seed) for seed in seeds) if _trained(state, state.jobs[key]).kept}
    candidates = [candidate(state, job, folder, job.key in leading) for job in jobs if job.key in waiting | leading]
    check(candidates)
    ledger.append("opened", "", state.openings, nets=len(waiting))
    opened = call(score, candidates, source, data, state.duplicates is None, log=folder.log)
    ledger.append("test_set", labels=opened.labels)
    if opened.duplicates is not None:
        ledger.append("duplicates", **asdict(opened.duplicates))
    if leading:  # the weights of those that were tested before may be lost, and their scores are not
        ledger.append("mistakes", "", state.openings, net=leader, seeds=len(leading), images=opened.mistakes)
    for key, result in opened.scores.items():
        ledger.append("tested", key, **asdict(result))


def validation(state: StudyState, name: str, seeds: Sequence[int]) -> float:
    """Mean validation accuracy after the last epoch."""
    return float(np.mean([state.jobs[job_key(name, seed)].reports[-1].val_accuracy for seed in seeds]))


def _trained(state: StudyState, job: JobRecord) -> JobRecord:
    return state.jobs[job.same_as] if job.same_as else job


def candidate(state: StudyState, job: JobRecord, folder: StudyFolder, leads: bool = False) -> Candidate:
    """What there is to test or to export of a job; where it is the same net as another, that one's weights."""
    trained = _trained(state, job)
    sha256 = trained.result.weights_sha256 if trained.result else ""
    return Candidate(job.key, job.arch, folder.weights(trained.key), sha256, leads)


def record(
    ledger: Ledger,
    nets: Sequence[Contender],
    seeds: Sequence[int],
    champion: dict[str, Any],
    left_out: Sequence[Contender] = (),
) -> None:
    """Records who was compared under which seeds, who could not be, and who won; nothing where that is recorded."""
    body = {"contenders": [net.to_dict() for net in nets], "seeds": list(seeds), "champion": champion}
    body |= {"left_out": [net.to_dict() for net in left_out]} if left_out else {}
    state = StudyState.of(ledger.events())
    if state.compared != json.loads(json.dumps(body)):
        ledger.append("compared", "", state.seq, **body)


def is_trial(name: str) -> bool:
    """Whether a contender is one of the search's, and not the lab's."""
    return name.startswith("trial-")


def listed(names: Sequence[str]) -> str:
    """As in ``a, b and c``; ``none`` of none."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "none"
