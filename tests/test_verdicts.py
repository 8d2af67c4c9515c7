"""Verdicts on pairs and on the lab's claims, and whether they are calibrated."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.calibration_simulated import Net, Scenario, simulate
from fmnist_sweep import stats
from fmnist_sweep.errors import UsageError
from fmnist_sweep.stats import Correct
from fmnist_sweep.verdicts import Claim, PairVerdict, claims, compare_all, pair_verdict
from tests.strategies import CALM

FEW = settings(CALM, max_examples=25)
EPOCHS = {"lab-cnn1": 5.0, "lab-mlp": 50.0}
SAME = {"lab-cnn3": "f00d", "lab-cnn3-bn-as-written": "f00d", "lab-cnn3-bn-as-intended": "beef"}
MLP, DEPTH, NORM = ("lab-cnn1", "lab-mlp"), ("lab-cnn3", "lab-cnn1"), ("lab-cnn3-bn-as-intended", "lab-cnn3")


def nets(*accuracies: float, seeds: int = 6, images: int = 4_000, seed: int = 0) -> dict[str, Correct]:
    """Simulated nets of these accuracies by name: a, b, c, ..."""
    found = simulate([Net(accuracy) for accuracy in accuracies], seeds, np.random.default_rng(seed), images=images)
    return dict(zip("abcdefgh", found, strict=False))


def pair(names: tuple[str, str], verdict: str, low: float, high: float, **changes: object) -> PairVerdict:
    """A verdict with an interval in points, all else as it may be."""
    found = pair_verdict(*nets(0.9, 0.9, images=200).values(), names=names, draws=20)
    middle = {"mean_difference": (low + high) / 200, "ci_low": low / 100, "ci_high": high / 100, "verdict": verdict}
    return replace(found, **{**middle, **changes})  # type: ignore[arg-type]


def told(*verdicts: PairVerdict, fingerprints: dict[str, str] = SAME, mlp_epochs: float = 50) -> tuple[Claim, ...]:
    return claims(verdicts, epochs={**EPOCHS, "lab-mlp": mlp_epochs}, fingerprints=fingerprints)


# Pairs


def test_a_clear_difference_is_found_and_a_net_equals_its_copy() -> None:
    three = nets(0.93, 0.88)
    three["copy"] = three["a"].copy()
    clear, none = compare_all(three, [("a", "b"), ("a", "copy")])
    assert clear.verdict == "better"
    assert 0 < clear.ci_low < clear.mean_difference < clear.ci_high
    assert clear.p_value == max(clear.p_flips, clear.p_two_way) == pytest.approx(1 / 32)
    assert (clear.p_raw, clear.p_holm) == (1 / 32, 1 / 16)
    assert clear.superiority == 1
    assert (clear.family, clear.seeds, clear.images) == (2, 6, 4_000)
    assert none.verdict == "not distinguishable"
    assert (none.mean_difference, none.ci_low, none.ci_high, none.p_value, none.superiority) == (0, 0, 0, 1, 0.5)


def test_a_verdict_is_plain_json() -> None:
    found = pair_verdict(*nets(0.93, 0.88).values())
    back = json.loads(json.dumps(found.to_dict()))
    assert {"a", "b", "mean_difference", "ci_low", "ci_high", "p_value", "verdict"} <= set(back)
    assert back == found.to_dict()
    assert back["mcnemar"]["form"] == "chi-square"


@FEW
@given(st.integers(0, 2**31), st.floats(0.85, 0.95), st.floats(0.85, 0.95))
def test_the_order_of_the_nets_says_nothing(seed: int, first: float, second: float) -> None:
    both = nets(first, second, images=500, seed=seed)
    one, other = (compare_all(both, [names], draws=200)[0] for names in (("a", "b"), ("b", "a")))
    for seen in (other.swapped(), one.swapped().swapped()):
        assert seen.mcnemar == one.mcnemar
        assert {**seen.to_dict(), "mcnemar": None} == pytest.approx({**one.to_dict(), "mcnemar": None})


@FEW
@given(st.integers(0, 2**31), st.permutations(range(6)))
def test_the_order_of_the_pairs_says_nothing(seed: int, order: list[int]) -> None:
    four = nets(0.9, 0.9, 0.91, 0.94, images=500, seed=seed)
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    found = compare_all(four, pairs, draws=50)
    assert compare_all(four, [pairs[place] for place in order], draws=50) == tuple(found[place] for place in order)
    for verdict in found:
        assert verdict.p_raw <= verdict.p_flips <= verdict.p_holm
        shown = verdict.p_value < 0.05 and not verdict.ci_low <= 0 <= verdict.ci_high
        assert shown == (verdict.verdict != "not distinguishable")


def test_both_halves_of_the_rule_are_needed() -> None:
    few = compare_all(nets(0.95, 0.8, seeds=5), [("a", "b")])[0]
    assert few.p_two_way < 0.001
    assert few.p_value == 1 / 16
    assert few.verdict == "not distinguishable"
    assert few.minimum_detectable_difference is None
    assert "can't show any difference" in few.reach
    # The same 5 of 60 images in all seeds: certain on these images, but other images might say otherwise.
    a, b = np.ones((6, 60), bool), np.ones((6, 60), bool)
    a[:, 0], b[:, 1:5] = False, False
    other = pair_verdict(a, b)
    assert other.p_flips == 1 / 32
    assert other.p_two_way > 0.05
    assert other.verdict == "not distinguishable"


def test_holm_alone_would_find_nothing_with_six_seeds() -> None:
    five = nets(0.93, 0.90, 0.90, 0.87)
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]
    found = compare_all(five, pairs)
    assert all(verdict.p_holm >= 5 / 32 for verdict in found)
    assert [verdict.verdict for verdict in found] == [*["better"] * 3, "not distinguishable", "better"]


def test_a_larger_family_asks_for_more() -> None:
    three = nets(0.9, 0.9, 0.9, seeds=7)
    alone, among = (compare_all(three, pairs)[0] for pairs in ([("a", "b")], [("a", "b"), ("a", "c"), ("b", "c")]))
    assert among.p_flips >= alone.p_flips
    assert among.p_two_way >= alone.p_two_way
    assert (among.ci_low, among.ci_high) == (alone.ci_low, alone.ci_high)
    assert among.minimum_detectable_difference is not None
    assert alone.minimum_detectable_difference is not None
    assert among.minimum_detectable_difference > alone.minimum_detectable_difference


@pytest.mark.parametrize(
    ("pairs", "says"),
    [([("a", "x")], "net 'x' has no predictions; valid: a, b"), ([("a", "a")], "'a' is paired with itself")],
)
def test_pairs_that_make_no_sense(pairs: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        compare_all(nets(0.9, 0.9, images=50), pairs)


def test_no_pairs_no_verdicts() -> None:
    assert compare_all({}, []) == ()


# Calibration; the full figures come from benchmarks/calibration_simulated.py


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("one net beside itself", (Net(), Net(like=0)), images=2_000),
        Scenario("two nets, 0.4 points apart", (Net(0.914), Net()), images=2_000),
        Scenario("two very different nets, 4 points apart", (Net(), Net(0.87)), kin=0.75, images=2_000),
    ],
    ids=lambda scenario: scenario.name,
)
def test_intervals_hold_the_truth_and_verdicts_are_seldom_false(scenario: Scenario) -> None:
    # 200 pairs: 5 % has a standard error of 1.5 %, so these bounds are more than 3 of them away.
    found = [verdicts[0] for verdicts in scenario.run(200, draws=400, rng=np.random.default_rng(0))]
    truth = scenario.true_differences()[0]
    held = np.mean([verdict.ci_low <= truth <= verdict.ci_high for verdict in found])
    assert 0.90 <= held <= 0.995
    wrong = ("better", "worse") if abs(truth) < 1e-9 else ("worse",)
    assert np.mean([verdict.verdict in wrong for verdict in found]) <= 0.10


def test_plain_percentiles_would_not_do() -> None:
    # With runs that differ by half a point each, 6 seeds, nothing but seeds matters: 1.96 x sqrt(5/6) for 2.57.
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        a, b = simulate([Net(shift=0.02), Net(shift=0.02, like=0)], 6, rng, images=2_000)
        cells = a.astype(np.int8) - b.astype(np.int8)
        low, high = np.quantile(stats._resampled_means(cells, 400, rng), [0.025, 0.975])
        missed += not low <= 0 <= high
    assert missed / 200 > 0.08


# Claims


def test_claims_whose_nets_were_not_compared_are_not_decided() -> None:
    found = told()
    assert [claim.verdict for claim in found] == ["not decided"] * 3
    assert all("not compared" in claim.why for claim in found)
    assert "lab-cnn3 itself (equal fingerprints)" in found[2].why


@pytest.mark.parametrize(
    ("verdict", "low", "high", "outcome", "says"),
    [
        ("better", 3.2, 4.1, "supported", ", which is compatible with almost 4 points (3.5 to 4)"),
        ("better", 2.0, 2.6, "refuted", "+2.30 points (95 % interval +2.00 to +2.60"),
        ("better", 2.0, 2.6, "refuted", "which is less than almost 4 points (3.5 to 4)"),
        ("better", 4.1, 4.9, "refuted", "which is more than almost 4 points"),
        ("better", 3.4, 4.9, "supported", "which is compatible with almost 4 points"),
        ("better", 3.2, 4.1, "supported", "after 5 epochs against 50;"),
        ("worse", -2.6, -2.0, "refuted", "lab-cnn1 is worse than lab-mlp"),
        ("not distinguishable", -0.5, 0.5, "not decided", "6 seeds would show"),
    ],
)
def test_first_claim(verdict: str, low: float, high: float, outcome: str, says: str) -> None:
    for one in (pair(MLP, verdict, low, high), pair(MLP, verdict, low, high).swapped()):
        found = told(one)[0]
        assert found.verdict == outcome
        assert says in found.why
        assert found.why.endswith(".")


def test_first_claim_says_if_it_took_more_than_a_tenth_of_the_epochs() -> None:
    assert "more than a tenth" in told(pair(MLP, "better", 3, 4), mlp_epochs=20)[0].why


@pytest.mark.parametrize(
    ("verdict", "low", "high", "outcome", "says"),
    [
        ("better", 0.2, 0.7, "supported", "lab-cnn3 is better than lab-cnn1: +0.45 points"),
        ("better", 1.2, 1.7, "refuted", "but by more than a point"),
        ("better", 0.6, 1.4, "not decided", "whether by less than a point is open"),
        ("worse", -0.7, -0.2, "refuted", "worse than"),
        ("not distinguishable", -0.1, 0.7, "not decided", "not distinguishable from lab-cnn1"),
    ],
)
def test_second_claim(verdict: str, low: float, high: float, outcome: str, says: str) -> None:
    found = told(pair(DEPTH, verdict, low, high))[1]
    assert (found.verdict, says in found.why) == (outcome, True)


@pytest.mark.parametrize(
    ("verdict", "low", "high", "outcome"),
    [
        ("better", 0.1, 0.4, "supported"),
        ("worse", -3.5, -2.1, "refuted"),
        ("not distinguishable", -0.5, 0.4, "not decided"),
    ],
)
def test_third_claim(verdict: str, low: float, high: float, outcome: str) -> None:
    found = told(pair(NORM, verdict, low, high))[2]
    assert found.verdict == outcome
    assert "as written the net is lab-cnn3 itself" in found.why
    assert f"as intended, lab-cnn3-bn-as-intended is {verdict}" in found.why
    other = told(pair(NORM, verdict, low, high), fingerprints={**SAME, "lab-cnn3": "cafe"})[2]
    assert other.verdict == outcome
    assert "itself" not in other.why


def test_a_claim_is_plain_json() -> None:
    assert set(json.loads(json.dumps(told()[0].to_dict()))) == {"claim", "verdict", "why"}
