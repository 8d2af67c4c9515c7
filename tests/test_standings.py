"""What the verdicts on the finals rest on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import champion, finals, lab, standings
from fmnist_sweep.commands import compare as command
from fmnist_sweep.duplicates import Duplicates
from fmnist_sweep.errors import StudyError
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.report import images as report_images
from fmnist_sweep.report.parts import Missing
from fmnist_sweep.state import StudyState
from tests import stand_ins
from tests.final_stand_ins import IMAGES, SEEDS, finish, judged, searched, variants


def test_a_finalist_that_is_one_of_the_labs_nets_stands_for_it(tmp_path: Path) -> None:
    """As in an ablation: trial 2 is lab-cnn3, so lab-cnn3 is compared with trial 1 and with lab-cnn1 all the same."""
    ledger = searched(tmp_path)
    best = StudyState.of(ledger.events()).ranked()[0]
    labs = [
        Variant("lab-cnn3", best.arch, best.train, "the same net") if it.name == "lab-cnn3" else it
        for it in variants()
        if it.name in ("lab-cnn1", "lab-cnn3", "lab-cnn3-bn-as-intended")
    ]
    labs.append(Variant("lab-cnn3-bn-as-written", best.arch, best.train, "the same net too"))
    nets = finals.contenders(StudyState.of(ledger.events()), 2, labs)
    same = dict.fromkeys(("lab-cnn3", "lab-cnn3-bn-as-written"), "trial-2")
    assert {net.name: net.same_as for net in nets if net.same_as} == same
    finish(ledger, nets, {"trial-2": 0.90, "trial-1": 0.95, "lab-cnn1": 0.80, "lab-cnn3-bn-as-intended": 0.85})
    findings, state = judged(ledger, nets)
    assert {(pair.a, pair.b) for pair in findings.pairs} == {
        *(("trial-1", other) for other in ("trial-2", "lab-cnn1", "lab-cnn3-bn-as-intended")),
        *(("trial-2", other) for other in ("lab-cnn1", "lab-cnn3-bn-as-intended")),
    }
    _, depth, batch_norm = findings.claims
    assert "were not compared" not in depth.why + batch_norm.why
    assert "lab-cnn3-bn-as-intended is worse than lab-cnn3" in batch_norm.why  # at 0.85 beside 0.90
    won = champion.choose(findings, state)
    assert (won.name, won.why) == ("trial-1", "better than each of the lab's nets")
    worse = replace(findings, pairs=tuple(replace(it, verdict="not distinguishable") for it in findings.pairs))
    assert "no finalist is better than each of the lab's nets" in champion.choose(worse, state).why


def test_verdicts_tell_a_gain_from_nothing(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    accuracy = {
        "trial-2": 0.95,
        "lab-cnn1": 0.90,
        "lab-cnn3": 0.95,
        "lab-cnn3-bn-as-intended": 0.90,
        "lab-mlp": 0.86,
    }
    finish(ledger, nets, accuracy)
    findings = standings.judge(StudyState.of(ledger.events()), nets, SEEDS)
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
    findings = standings.judge(StudyState.of(ledger.events()), nets, SEEDS)
    assert findings.leader == "trial-1"
    assert [it.contender.name for it in findings.standings] == ["trial-1", "trial-2"]


def test_nothing_is_judged_before_all_is_tested(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, [])
    with pytest.raises(StudyError, match="final-trial-2-seed1 is not tested yet"):
        standings.judge(StudyState.of(ledger.events()), nets, SEEDS)


def test_the_findings_are_rebuilt_from_the_ledger_alone(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 2, variants())
    assert standings.recorded(StudyState.of(ledger.events())) is None
    finish(ledger, nets, {"trial-2": 0.95, "trial-1": 0.94, **dict.fromkeys(lab.NAMES, 0.9)})
    findings, state = judged(ledger, nets)
    winner = champion.choose(findings, state).to_dict()
    finals.record(ledger, nets, SEEDS, winner)
    seq = ledger.last()
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    finals.record(again, nets, SEEDS, winner)
    assert again.last() == seq  # nothing is recorded twice
    assert standings.recorded(StudyState.of(again.events())) == findings


def test_results_are_told_without_the_images_that_the_training_file_holds(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.93, **dict.fromkeys(lab.NAMES, 0.90)})
    findings, state = judged(ledger, nets)
    assert findings.without_duplicates is None
    assert findings.standings[0].accuracy_without_duplicates is None
    helped = np.flatnonzero(state.jobs["final-trial-2-seed1"].tested.hits())[:400]  # type: ignore[union-attr]
    found = Duplicates(tuple(int(place) for place in helped), exact=3, near=len(helped) - 3)
    ledger.append("duplicates", **asdict(found))
    findings, state = judged(ledger, nets)
    assert state.duplicates == {**asdict(found), "test": list(found.test)}
    kept = np.delete(np.arange(IMAGES), helped)
    for it in findings.standings:
        tested = [state.jobs[finals.job_key(it.contender.name, seed)].tested for seed in SEEDS]
        expected = np.mean([score.hits()[kept] for score in tested if score is not None])
        assert it.accuracy_without_duplicates == pytest.approx(expected)
    assert findings.without_duplicates is not None
    assert {pair.images for pair in findings.pairs} == {IMAGES}
    assert {pair.images for pair in findings.without_duplicates} == {len(kept)}
    assert findings.changed == tuple(
        (one, other)
        for one, other in zip(findings.pairs, findings.without_duplicates, strict=True)
        if one.verdict != other.verdict
    )


@pytest.mark.parametrize("left", [0, 1])
def test_where_nearly_every_test_image_is_a_copy_nothing_is_judged_without_them(tmp_path: Path, left: int) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.93, **dict.fromkeys(lab.NAMES, 0.90)})
    found = Duplicates(tuple(range(left, IMAGES)), exact=IMAGES - left, near=0)
    ledger.append("duplicates", **asdict(found))
    findings, state = judged(ledger, nets)
    assert findings.without_duplicates is None
    told = report_images.duplicates(state, findings)
    assert isinstance(told, Missing)
    assert "too few are left without them" in told.reason
    assert "Too few test images are left" in list(command._without_duplicates(findings, state))[-1]


def test_the_labs_claims_are_about_its_own_protocol(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    quick = lab.variants(input_shape=stand_ins.SHAPE, classes=stand_ins.CLASSES, epochs=2)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, quick)
    finish(ledger, nets, {"trial-2": 0.95, "lab-mlp": 0.80, **dict.fromkeys(lab.NAMES[:4], 0.90)})
    findings, _ = judged(ledger, nets)
    assert {claim.verdict for claim in findings.claims} == {"not decided"}
    assert findings.claims[0].why.startswith(
        "it is a claim about 5 epochs of 48,000 images; here, after 2 of 48,000, lab-cnn1 is better than lab-mlp"
    )


def test_a_verdict_that_rests_on_duplicates_is_named(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.93, **dict.fromkeys(lab.NAMES, 0.90)})
    _, state = judged(ledger, nets)
    ours, theirs = (
        np.mean([state.jobs[finals.job_key(name, seed)].tested.hits() for seed in SEEDS], axis=0)  # type: ignore[union-attr]
        for name in ("trial-2", "lab-cnn1")
    )
    gained = np.argsort(theirs - ours)[:250]  # where the trial is better most often
    ledger.append("duplicates", **asdict(Duplicates(tuple(int(place) for place in gained), 0, len(gained))))
    findings, _ = judged(ledger, nets)
    changed = {(one.a, one.b): (one.verdict, other.verdict) for one, other in findings.changed}
    assert changed["trial-2", "lab-cnn1"] == ("better", "not distinguishable")
