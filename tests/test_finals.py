"""The finals: who takes part, on which seeds, and what the verdicts rest on."""

from __future__ import annotations

import zlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import finals, lab
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.errors import StudyError, UsageError
from fmnist_sweep.finals import Contender
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.pruning import report_points
from fmnist_sweep.scores import TestScore, packed
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialResult
from tests import stand_ins

IMAGES = 2_000
SEEDS = tuple(range(1, 9))


def variants() -> list[Variant]:
    return lab.variants(input_shape=stand_ins.SHAPE, classes=stand_ins.CLASSES, epochs=2)


def searched(folder: Path) -> Ledger:
    """A study with three complete trials."""
    ledger = Ledger(folder / "ledger.db")
    ledger.append("study", name="study", seed=0)
    for number, proposal in enumerate(stand_ins.proposals()[:3]):
        key = f"trial-{number:04d}"
        ledger.append("asked", key, 0, **stand_ins.asked(number, proposal))
        end(ledger, key, 0.8 + 0.01 * number)
    return ledger


def end(ledger: Ledger, key: str, accuracy: float) -> None:
    result = TrialResult(3.0, 3.0, accuracy, 6.0, 120, "sha")
    ledger.append("ended", key, 0, state="complete", result=asdict(result))


def finish(ledger: Ledger, nets: list[Contender], accuracy: dict[str, float]) -> None:
    """Trains and tests every final, with the given accuracy on the test set."""
    for extra in finals.extras(nets, SEEDS):
        name, seed = extra.key.removeprefix("final-").rsplit("-seed", 1)
        rng = np.random.default_rng([int(seed), zlib.crc32(name.encode())])
        hits = rng.uniform(size=IMAGES) < accuracy[name]
        ledger.append(
            "asked",
            extra.key,
            0,
            kind="final",
            number=-1,
            arch=extra.arch.to_dict(),
            train=extra.train.to_dict(),
            drawn={},
            fingerprint=fingerprint(extra.arch, extra.train),
            report_at=report_points(extra.train.epochs, ()),
        )
        last = Report(1, float(extra.train.epochs), 0.2, 0.9, 0.3, accuracy[name], 4.0, 80)
        ledger.append("report", extra.key, last.place, **last.body)
        end(ledger, extra.key, accuracy[name])
        tested = TestScore(float(hits.mean()), 0.3, IMAGES, packed(hits), 1.0, 9.0)
        ledger.append("tested", extra.key, 0, **asdict(tested))


def test_the_best_trials_and_each_of_the_labs_nets_once_take_part(tmp_path: Path) -> None:
    nets = finals.contenders(StudyState.of(searched(tmp_path).events()), 2, variants())
    assert [net.name for net in nets] == ["trial-2", "trial-1", *lab.NAMES]
    assert {net.name: net.same_as for net in nets if net.same_as} == {"lab-cnn3-bn-as-written": "lab-cnn3"}


def test_a_finalist_that_is_one_of_the_labs_nets_is_not_compared_with_itself(tmp_path: Path) -> None:
    state = StudyState.of(searched(tmp_path).events())
    best = state.ranked()[0]
    twin = Variant("lab-cnn1", best.arch, replace(best.train, seed=5), "the same net")
    nets = finals.contenders(state, 1, [twin])
    assert nets[1].same_as == nets[0].name
    assert len(finals.extras(nets, SEEDS)) == len(SEEDS)


def test_all_nets_are_trained_under_the_same_seeds_which_are_not_the_searchs(tmp_path: Path) -> None:
    state = StudyState.of(searched(tmp_path).events())
    seeds = finals.seeds_of(state, 6)
    assert seeds == (1, 2, 3, 4, 5, 6)
    jobs = finals.extras(finals.contenders(state, 3, variants()), seeds)
    assert len(jobs) == len({job.key for job in jobs}) == 6 * (3 + 4)
    assert {job.train.seed for job in jobs} == set(seeds)
    assert all(job.kind == "final" for job in jobs)


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seeds is 1; valid: 2 or more"):
        finals.seeds_of(StudyState.of(searched(tmp_path).events()), 1)


def test_a_study_without_a_complete_trial_is_refused() -> None:
    with pytest.raises(StudyError, match="no complete trial"):
        finals.contenders(StudyState(study={"name": "new"}), 3, variants())


def test_verdicts_tell_a_gain_from_nothing(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    accuracy = {
        "trial-2": 0.95,
        "lab-cnn1": 0.90,
        "lab-cnn3": 0.95,
        "lab-cnn3-bn-as-intended": 0.90,
        "lab-mlp": 0.80,
    }
    finish(ledger, nets, accuracy)
    findings = finals.judge(StudyState.of(ledger.events()), nets, SEEDS)
    by_pair = {(pair.a, pair.b): pair.verdict for pair in findings.pairs}
    assert by_pair["trial-2", "lab-cnn1"] == "better"
    assert by_pair["trial-2", "lab-cnn3"] == "not distinguishable"
    assert [claim.verdict for claim in findings.claims] == ["supported", "refuted", "refuted"]
    assert findings.leader == "trial-2"
    assert findings.sentence == (
        "trial-2 is better than lab-cnn1, lab-cnn3-bn-as-intended and lab-mlp, not distinguishable from lab-cnn3 "
        "(lab-cnn3-bn-as-written is lab-cnn3, the same net)"
    )
    assert all("lab-cnn3-bn-as-written" not in (pair.a, pair.b) for pair in findings.pairs)


def test_the_leader_is_chosen_by_validation_and_not_by_the_test_set(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 2, [])
    finish(ledger, nets, {"trial-2": 0.80, "trial-1": 0.90})
    findings = finals.judge(StudyState.of(ledger.events()), nets, SEEDS)
    assert findings.leader == "trial-1"
    assert [it.contender.name for it in findings.standings] == ["trial-1", "trial-2"]


def test_which_images_are_right_survives_the_ledger() -> None:
    hits = np.random.default_rng(0).uniform(size=10_003) < 0.9
    found = TestScore(0.9, 0.3, len(hits), packed(hits), 1.0, 9.0).hits()
    assert np.array_equal(found, hits)


def test_nothing_is_judged_before_all_is_tested(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, [])
    with pytest.raises(StudyError, match="final-trial-2-seed1 is not tested yet"):
        finals.judge(StudyState.of(ledger.events()), nets, SEEDS)
