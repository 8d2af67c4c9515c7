"""The finals: who takes part, and on which seeds."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import arch, durable, finals, lab
from fmnist_sweep.errors import ExportError, StudyError, UsageError
from fmnist_sweep.finals import Contender
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Proposal
from fmnist_sweep.scores import TestScore, packed
from fmnist_sweep.state import StudyState
from fmnist_sweep.testing import Candidate, Opened
from fmnist_sweep.trial import Report, TrialResult
from tests import stand_ins
from tests.final_stand_ins import SEEDS, end, finish, judged, searched, variants


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


def test_after_the_last_seed_come_the_first(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    proposal = stand_ins.proposals()[2]
    for number, seed in ((3, arch.SEEDS - 2), (4, 1)):
        drawn = replace(proposal, train=replace(proposal.train, seed=seed))
        ledger.append("asked", f"trial-{number:04d}", 0, **stand_ins.asked(number, drawn))
    assert finals.seeds_of(StudyState.of(ledger.events()), 3) == (arch.SEEDS - 1, 2, 3)  # the search's own are 0 and 1


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


def with_one_more_seed(ledger: Ledger, net: Contender, folder: StudyFolder) -> str:
    """A ninth training, whose weights are there, beside eight that were tested and whose weights are not."""
    finish(ledger, [net], {net.name: 0.9})
    key, arch, train = finals.job_key(net.name, 9), net.arch, net.train.with_seed(9)
    folder.job(key).mkdir(parents=True)
    (folder.job(key) / "weights.npz").write_bytes(b"weights")
    ledger.append("asked", key, 0, **stand_ins.asked(-1, Proposal(arch, train, {})) | {"kind": "final"})
    last = Report(1, float(train.epochs), 0.2, 0.9, 0.3, 0.9, 4.0, 80)
    ledger.append("report", key, last.place, **last.body)
    result = TrialResult(3.0, 3.0, 0.9, 6.0, 120, durable.sha256(folder.job(key) / "weights.npz"))
    ledger.append("ended", key, 0, state="complete", result=asdict(result))
    ledger.append("kept", key)
    return key


def test_of_finals_that_were_tested_nothing_but_the_scores_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the study's weights were lost, and the doctor has said so in the ledger."""
    ledger, folder = searched(tmp_path), StudyFolder(tmp_path / "study")
    nets = finals.contenders(StudyState.of(ledger.events()), 1, [])
    key, scored = with_one_more_seed(ledger, nets[0], folder), list[str]()

    def opened(_: object, candidates: list[Candidate], *__: object, **___: object) -> Opened:
        scored.extend(it.key for it in candidates)
        return Opened({key: TestScore(0.9, 0.3, 1, packed(np.ones(1, bool)), 1.0, 9.0)}, "", None, [])

    monkeypatch.setattr(finals, "call", opened)
    finals.test(nets, (*SEEDS, 9), ledger, folder, None, None)  # type: ignore[arg-type]
    state = StudyState.of(ledger.events())
    assert scored == [key]
    assert (state.openings, state.jobs[key].tested is not None) == (1, True)
    assert state.mistakes is not None
    assert state.mistakes["seeds"] == 1


def test_nobody_opens_the_test_set_for_weights_that_are_not_there_or_a_final_that_failed(tmp_path: Path) -> None:
    ledger, folder = searched(tmp_path), StudyFolder(tmp_path / "study")
    nets = finals.contenders(StudyState.of(ledger.events()), 1, [])
    key = with_one_more_seed(ledger, nets[0], folder)
    (folder.job(key) / "weights.npz").write_bytes(b"others")
    with pytest.raises(ExportError, match=f"{key}.*is missing or was altered"):
        finals.test(nets, (*SEEDS, 9), ledger, folder, None, None)  # type: ignore[arg-type]
    lost = replace(stand_ins.proposals()[2], train=nets[0].train.with_seed(10))
    failed = finals.job_key(nets[0].name, 10)
    ledger.append("asked", failed, 0, **stand_ins.asked(-1, lost) | {"kind": "final"})
    ledger.append("ended", failed, 0, state="failed", reason="worker: it was killed, 3 times", result=None)
    with pytest.raises(StudyError, match="is failed: worker: it was killed"):
        finals.test(nets, (*SEEDS, 10), ledger, folder, None, None)  # type: ignore[arg-type]
    assert StudyState.of(ledger.events()).openings == 0


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seeds is 1; valid: 2 or more"):
        finals.seeds_of(StudyState.of(searched(tmp_path).events()), 1)


def test_a_study_without_a_complete_trial_is_refused() -> None:
    with pytest.raises(StudyError, match="no complete trial"):
        finals.contenders(StudyState(study={"name": "new"}), 3, variants())
