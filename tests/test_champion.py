"""Who gets the alias, and who keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep import champion, finals, lab, publish
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.publish import Title
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.registry import DataMark
from tests import stand_ins
from tests.final_stand_ins import BEST_SEED, end, finish, judged, searched, variants
from tests.strategies import CALM

DATA = DataMark("digits", "f")


def test_a_finalist_that_beats_all_of_the_labs_nets_is_champion(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.95, **dict.fromkeys(lab.NAMES, 0.90)})
    found = champion.choose(*judged(ledger, nets))
    assert (found.name, found.seed, found.job) == ("trial-2", BEST_SEED, f"final-trial-2-seed{BEST_SEED}")
    assert found.why == "better than each of the lab's nets"
    assert found.val_accuracy == pytest.approx(0.95 - 0.001 * 7 / 8)


def test_a_net_of_the_lab_that_was_not_judged_is_not_said_to_be_beaten(tmp_path: Path) -> None:
    ledger = searched(tmp_path)
    nets = finals.contenders(StudyState.of(ledger.events()), 1, variants())
    finish(ledger, nets, {"trial-2": 0.95, **dict.fromkeys(lab.NAMES, 0.90)})
    findings, state = judged(ledger, nets)
    assert champion.choose(findings, state, ["trial-1"]).why == "better than each of the lab's nets"
    found = champion.choose(findings, state, ["trial-1", "lab-cnn3"])
    assert found.why == "better than each of the lab's nets that could be judged"


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
        publish.crown("http://away", None, "", Title("ours", "search", 0.9, "because", DATA))  # type: ignore[arg-type]


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
    assert publish.outranks(holder, Title("ours", judged, accuracy, "because", DATA)) is stays


def test_before_the_first_comparison_the_searchs_best_is_the_heir(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append("study", name="study", seed=0, id="mine", data_set={"name": "digits", "fingerprint": "f"})
    assert publish.heir(StudyState.of(ledger.events())) is None
    for number, proposal in enumerate(stand_ins.proposals()[:2]):
        ledger.append("asked", f"trial-{number:04d}", 0, **stand_ins.asked(number, proposal))
        end(ledger, f"trial-{number:04d}", 0.8 + 0.01 * number)
    found = publish.heir(StudyState.of(ledger.events()))
    assert found == ("trial-0001", Title("mine", "search", 0.81, "validation accuracy 0.8100, one seed", DATA))
    won = {"name": "lab-cnn1", "seed": 2, "job": "final-lab-cnn1-seed2", "val_accuracy": 0.7, "why": "because"}
    ledger.append("compared", "", 9, contenders=[], seeds=[1, 2], champion=won)
    found = publish.heir(StudyState.of(ledger.events()))
    assert found == ("final-lab-cnn1-seed2", Title("mine", "finals", 0.7, "because", DATA))
