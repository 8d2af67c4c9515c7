"""The finals: who takes part, on which seeds, and what the verdicts rest on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep import champion, finals, lab, publish
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.duplicates import Duplicates
from fmnist_sweep.errors import StudyError, UsageError
from fmnist_sweep.finals import Contender, Findings
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Proposal
from fmnist_sweep.pruning import report_points
from fmnist_sweep.publish import Title
from fmnist_sweep.scores import TestScore, mistakes, packed, packed_classes
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialResult
from tests import stand_ins
from tests.strategies import CALM

IMAGES = 2_000
SEEDS = tuple(range(1, 9))
BEST_SEED = 5


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


def finish(
    ledger: Ledger, nets: list[Contender], accuracy: Mapping[str, float], validation: Mapping[str, float] | None = None
) -> None:
    """Trains and tests every final, with the given accuracy on the test set and, by default, in validation too.

    Validation is a little lower under all seeds but ``BEST_SEED``.
    """
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
        val_accuracy = (validation or accuracy)[name] - (0.0 if int(seed) == BEST_SEED else 0.001)
        last = Report(1, float(extra.train.epochs), 0.2, 0.9, 0.3, val_accuracy, 4.0, 80)
        ledger.append("report", extra.key, last.place, **last.body)
        end(ledger, extra.key, val_accuracy)
        tested = TestScore(float(hits.mean()), 0.3, IMAGES, packed(hits), 1.0, 9.0)
        ledger.append("tested", extra.key, 0, **asdict(tested))


def judged(ledger: Ledger, nets: list[Contender]) -> tuple[Findings, StudyState]:
    state = StudyState.of(ledger.events())
    return finals.judge(state, nets, SEEDS), state


def test_the_best_trials_and_each_of_the_labs_nets_once_take_part(tmp_path: Path) -> None:
    nets = finals.contenders(StudyState.of(searched(tmp_path).events()), 2, variants())
    assert [net.name for net in nets] == ["trial-2", "trial-1", *lab.NAMES]
    assert {net.name: net.same_as for net in nets if net.same_as} == {"lab-cnn3-bn-as-written": "lab-cnn3"}


def test_finalists_lead_over_their_last_steps_and_not_by_one_lucky_step(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    for number, steady in ((0, 0.79), (1, 0.81), (2, 0.78)):
        report = Report(0, 3.0, 0.2, 0.9, 0.3, 0.8 + 0.01 * number, 4.0, 80, steady)
        ledger.append("report", f"trial-{number:04d}", report.place, **report.body)
    state = StudyState.of(ledger.events())
    assert [net.name for net in finals.contenders(state, 3, [])] == ["trial-1", "trial-0", "trial-2"]
    assert state.ranked()[0].number == 2


def test_a_finalist_that_is_one_of_the_labs_nets_is_not_compared_with_itself(tmp_path: Path) -> None:
    state = StudyState.of(searched(tmp_path).events())
    best = state.ranked()[0]
    twin = Variant("lab-cnn1", best.arch, replace(best.train, seed=5), "the same net")
    nets = finals.contenders(state, 1, [twin])
    assert nets[1].same_as == nets[0].name
    assert len(finals.extras(nets, SEEDS)) == len(SEEDS)


def test_a_finalist_that_is_one_of_the_labs_nets_stands_for_it(tmp_path: Path) -> None:
    """As in an ablation: trial 2 is lab-cnn3, so lab-cnn3 is compared with trial 1 and with lab-cnn1 all the same."""
    ledger = searched(tmp_path)
    best = StudyState.of(ledger.events()).ranked()[0]
    labs = [
        Variant("lab-cnn3", best.arch, best.train, "the same net") if it.name == "lab-cnn3" else it
        for it in variants()
        if it.name in ("lab-cnn1", "lab-cnn3", "lab-cnn3-bn-as-intended")
    ]
    nets = finals.contenders(StudyState.of(ledger.events()), 2, labs)
    assert {net.name: net.same_as for net in nets if net.same_as} == {"lab-cnn3": "trial-2"}
    finish(ledger, nets, {"trial-2": 0.90, "trial-1": 0.95, "lab-cnn1": 0.80, "lab-cnn3-bn-as-intended": 0.85})
    findings, state = judged(ledger, nets)
    assert {(pair.a, pair.b) for pair in findings.pairs} == {
        *(("trial-1", other) for other in ("trial-2", "lab-cnn1", "lab-cnn3-bn-as-intended")),
        *(("trial-2", other) for other in ("lab-cnn1", "lab-cnn3-bn-as-intended")),
    }
    _, depth, batch_norm = findings.claims
    assert "were not compared" not in depth.why + batch_norm.why
    assert batch_norm.verdict == "refuted"  # at 0.85 beside 0.90
    won = champion.choose(findings, state)
    assert (won.name, won.why) == ("trial-1", "better than each of the lab's nets")
    worse = replace(findings, pairs=tuple(replace(it, verdict="not distinguishable") for it in findings.pairs))
    assert "no finalist is better than each of the lab's nets" in champion.choose(worse, state).why


def test_a_net_that_the_search_has_drawn_twice_is_one_finalist(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    ledger.append("asked", "trial-0003", 0, **stand_ins.asked(3, stand_ins.proposals()[2]))
    end(ledger, "trial-0003", 0.9)
    nets = finals.contenders(StudyState.of(ledger.events()), 3, [])
    assert [net.name for net in nets] == ["trial-3", "trial-1", "trial-0"]


def test_all_nets_are_trained_under_the_same_seeds_which_are_not_the_searchs(tmp_path: Path) -> None:
    state = StudyState.of(searched(tmp_path).events())
    seeds = finals.seeds_of(state, 6)
    assert seeds == (1, 2, 3, 4, 5, 6)
    jobs = finals.extras(finals.contenders(state, 3, variants()), seeds)
    assert len(jobs) == len({job.key for job in jobs}) == 6 * (3 + 4)
    assert {job.train.seed for job in jobs} == set(seeds)
    assert all(job.kind == "final" for job in jobs)


def test_no_seed_of_a_search_over_seeds_is_used_again(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    proposal = stand_ins.proposals()[2]
    drawn = replace(proposal, train=replace(proposal.train, seed=5))
    ledger.append("asked", "trial-0003", 0, **stand_ins.asked(3, drawn))
    assert finals.seeds_of(StudyState.of(ledger.events()), 3) == (6, 7, 8)


@pytest.mark.parametrize(
    ("why", "seeds"), [("worker: it was killed, 3 times", (1, 3, 4)), ("diverged: the loss became nan", (1, 2, 3))]
)
def test_a_seed_under_which_the_machine_failed_a_net_gives_its_place_to_another(
    tmp_path: Path, why: str, seeds: tuple[int, ...]
) -> None:
    ledger = searched(tmp_path)
    proposal = stand_ins.proposals()[2]
    lost = replace(proposal, train=replace(proposal.train, seed=2))
    ledger.append("asked", "final-trial-1-seed2", 0, **stand_ins.asked(-1, lost) | {"kind": "final"})
    ledger.append("ended", "final-trial-1-seed2", 0, state="failed", reason=why, result=None)
    assert finals.seeds_of(StudyState.of(ledger.events()), 3) == seeds


def test_a_net_that_diverges_is_left_out_and_the_others_are_judged(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 2, variants())
    lost = next(net for net in nets if net.name == "lab-cnn3")
    key = finals.job_key("lab-cnn3", 2)
    ledger.append(
        "asked",
        key,
        0,
        **stand_ins.asked(-1, Proposal(lost.arch, lost.train.with_seed(2), {})) | {"kind": "final"},
    )
    ledger.append("ended", key, 0, state="failed", reason="diverged: the loss became nan", result=None)
    out = finals.diverged(StudyState.of(ledger.events()), nets, SEEDS)
    assert out == {
        name: f"{name} diverged under seed 2, so it is not judged" for name in ("lab-cnn3", "lab-cnn3-bn-as-written")
    }
    sound = [net for net in nets if net.name not in out]
    finish(ledger, sound, dict.fromkeys([net.name for net in sound], 0.9))
    findings, _ = judged(ledger, sound)
    assert {it.contender.name for it in findings.standings} == {net.name for net in sound}
    assert findings.claims[1].why == "lab-cnn3 and lab-cnn1 were not compared."


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


def test_which_class_each_image_gets_survives_the_ledger_and_old_ledgers_have_none(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 10, 10_003).astype(np.uint8)
    score = TestScore(0.9, 0.3, len(classes), "", 1.0, 9.0, packed_classes(classes))
    assert np.array_equal(score.classes(), classes)  # type: ignore[arg-type]
    old = {name: value for name, value in asdict(score).items() if name != "predicted"}
    ledger = searched(tmp_path)
    ledger.append("tested", "trial-0000", 0, **old)
    ledger.append("test_set", labels=packed_classes(classes % 3))
    state = StudyState.of(ledger.events())
    assert state.jobs["trial-0000"].tested == replace(score, predicted="")
    assert replace(score, predicted="").classes() is None
    assert np.array_equal(state.test_labels(), classes % 3)  # type: ignore[arg-type]
    assert StudyState().test_labels() is None


def test_the_findings_are_rebuilt_from_the_ledger_alone(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 2, variants())
    assert finals.recorded(StudyState.of(ledger.events())) is None
    finish(ledger, nets, {"trial-2": 0.95, "trial-1": 0.94, **dict.fromkeys(lab.NAMES, 0.9)})
    findings, state = judged(ledger, nets)
    winner = champion.choose(findings, state).to_dict()
    finals.record(ledger, nets, SEEDS, winner)
    seq = ledger.last()
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    finals.record(again, nets, SEEDS, winner)
    assert again.last() == seq  # nothing is recorded twice
    assert finals.recorded(StudyState.of(again.events())) == findings


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


def test_a_finalist_that_beats_all_of_the_labs_nets_is_champion(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.95, **dict.fromkeys(lab.NAMES, 0.90)})
    found = champion.choose(*judged(ledger, nets))
    assert (found.name, found.seed, found.job) == ("trial-2", BEST_SEED, f"final-trial-2-seed{BEST_SEED}")
    assert found.why == "better than each of the lab's nets"
    assert found.val_accuracy == pytest.approx(0.95 - 0.001 * 7 / 8)


def test_the_second_finalist_wins_where_it_alone_beats_the_labs_nets(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 2, variants())
    labs = dict.fromkeys(lab.NAMES, 0.90)
    finish(ledger, nets, {"trial-2": 0.90, "trial-1": 0.95, **labs}, {"trial-2": 0.95, "trial-1": 0.94, **labs})
    findings, state = judged(ledger, nets)
    assert findings.leader == "trial-2"
    assert champion.choose(findings, state).name == "trial-1"


def test_what_cannot_be_told_apart_is_won_by_the_smallest_net(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.80, **dict.fromkeys(lab.NAMES, 0.80), "lab-cnn1": 0.95, "lab-cnn3": 0.95})
    findings, state = judged(ledger, nets)
    sizes = {it.contender.name: it.parameters for it in findings.standings}
    found = champion.choose(findings, state)
    assert found.name == min("lab-cnn1", "lab-cnn3", key=lambda name: sizes[name])
    assert found.why.startswith("no finalist is better than each of the lab's nets; of those that are worse than none")
    assert "trial-2" not in found.why


def test_where_seeds_are_too_few_for_any_verdict_validation_decides(
    compared: tuple[Findings, StudyState],
) -> None:
    findings, state = compared
    few = replace(
        findings,
        seeds=findings.seeds[:3],
        standings=tuple(
            replace(it, val_accuracy=0.8 + 0.01 * (it.contender.name == "lab-cnn3")) for it in findings.standings
        ),
    )
    found = champion.choose(few, state)
    assert found.name == "lab-cnn3"
    assert found.why == "3 seeds can't show any difference, so validation decides: 81.00 %, the highest mean"
    assert champion.choose(replace(few, seeds=findings.seeds), state).name != "lab-cnn3"


def test_a_net_of_the_labs_that_beats_all_is_champion(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, [it for it in variants() if it.name == "lab-cnn1"])
    finish(ledger, nets, {"trial-2": 0.80, "lab-cnn1": 0.95})
    found = champion.choose(*judged(ledger, nets))
    assert found.name == "lab-cnn1"
    assert found.why.endswith("it alone is worse than none of the others")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, StudyState]:
    ledger = searched(tmp_path_factory.mktemp("compared"))
    nets = finals.contenders(StudyState.of(ledger.events()), 2, variants())
    finish(ledger, nets, {"trial-2": 0.9, "trial-1": 0.9, **dict.fromkeys(lab.NAMES, 0.9)})
    return judged(ledger, nets)


@settings(CALM, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=6, max_size=6), st.permutations(range(1, 7)), st.integers(1, 4))
def test_no_net_that_is_worse_than_another_is_champion(
    compared: tuple[Findings, StudyState], merits: list[int], sizes: list[int], gap: int
) -> None:
    findings, state = compared
    names = [it.contender.name for it in findings.standings]
    merit = dict(zip(names, merits, strict=True))

    def verdict(a: str, b: str) -> Any:
        apart = merit[a] - merit[b]
        return "better" if apart >= gap else "worse" if apart <= -gap else "not distinguishable"

    told = replace(
        findings,
        standings=tuple(replace(it, parameters=size) for it, size in zip(findings.standings, sizes, strict=True)),
        pairs=tuple(replace(pair, verdict=verdict(pair.a, pair.b)) for pair in findings.pairs),
    )
    found = champion.choose(told, state)
    labs = [name for name in names if not finals.is_trial(name)]
    above_all = [name for name in names[:2] if all(verdict(name, rival) == "better" for rival in labs)]
    if above_all:
        assert found.name == above_all[0]
        return
    beside = {names[0], *labs}
    assert found.name in beside
    better = {(pair.a, pair.b) for pair in told.pairs if pair.verdict == "better"}
    better |= {(pair.b, pair.a) for pair in told.pairs if pair.verdict == "worse"}
    unbeaten = [name for name in names if name in beside and not any((it, name) in better for it in beside)]
    size = dict(zip(names, sizes, strict=True))
    assert found.name == min(unbeaten, key=lambda name: size[name])


def test_where_it_cannot_be_told_whose_the_alias_is_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def get_model_version_by_alias(self, *_: str) -> None:
            raise TimeoutError("no answer in 10 s")

    monkeypatch.setattr(publish, "connect", lambda _: Away())
    with pytest.raises(TimeoutError):
        publish.crown("http://away", None, "", Title("ours", "search", 0.9, "because"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("holder", "judged", "accuracy", "stays"),
    [
        ({"sweep.study_id": "ours", "val_accuracy": "0.99", "sweep.judged": "finals"}, "search", 0.9, False),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.91"}, "search", 0.92, False),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.93"}, "search", 0.92, True),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.99"}, "finals", 0.92, False),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.90", "sweep.judged": "finals"}, "search", 0.99, True),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.90", "sweep.judged": "finals"}, "finals", 0.91, False),
        ({"sweep.study_id": "theirs", "val_accuracy": "0.92", "sweep.judged": "finals"}, "finals", 0.91, True),
    ],
)
def test_a_champion_of_finals_outranks_one_of_a_search(
    holder: dict[str, str], judged: Any, accuracy: float, stays: bool
) -> None:
    assert publish.outranks(holder, Title("ours", judged, accuracy, "because")) is stays


def test_before_the_first_comparison_the_searchs_best_is_the_heir(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append("study", name="study", seed=0, id="mine")
    assert publish.heir(StudyState.of(ledger.events())) is None
    for number, proposal in enumerate(stand_ins.proposals()[:2]):
        ledger.append("asked", f"trial-{number:04d}", 0, **stand_ins.asked(number, proposal))
        end(ledger, f"trial-{number:04d}", 0.8 + 0.01 * number)
    found = publish.heir(StudyState.of(ledger.events()))
    assert found == ("trial-0001", Title("mine", "search", 0.81, "validation accuracy 0.8100, one seed"))
    won = {"name": "lab-cnn1", "seed": 2, "job": "final-lab-cnn1-seed2", "val_accuracy": 0.7, "why": "because"}
    ledger.append("compared", "", 9, contenders=[], seeds=[1, 2], champion=won)
    found = publish.heir(StudyState.of(ledger.events()))
    assert found == ("final-lab-cnn1-seed2", Title("mine", "finals", 0.7, "because"))


def test_mistakes_are_what_most_runs_get_wrong_the_surest_first() -> None:
    labels = np.array([0, 0, 0, 0, 1], np.uint8)
    runs = np.zeros((3, 5, 3))
    runs[:, 0] = [0.9, 0.1, 0.0]  # right
    runs[:, 1] = [0.2, 0.8, 0.0]  # wrong under all seeds
    runs[:, 2] = [0.1, 0.0, 0.9]  # likewise, and surer
    runs[0, 3], runs[1:, 3] = [0.3, 0.7, 0.0], [0.6, 0.4, 0.0]  # wrong once
    runs[0, 4], runs[1, 4], runs[2, 4] = [0.7, 0.3, 0.0], [0.1, 0.4, 0.5], [0.2, 0.6, 0.2]  # wrong twice, each its way
    found = mistakes(list(runs), labels)
    assert [(it.index, it.label, it.predicted, it.votes) for it in found] == [(2, 0, 2, 3), (1, 0, 1, 3), (4, 1, 0, 1)]
    assert [it.probability for it in found] == pytest.approx([0.9, 0.8, 1.0 / 3])
    assert mistakes(list(runs), labels, most=1) == found[:1]
