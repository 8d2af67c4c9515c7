"""The statistics: published examples, other people's implementations, and properties that must hold for all data."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as reference

from fmnist_sweep import counts, stats
from fmnist_sweep.errors import UsageError
from fmnist_sweep.stats import Correct, Floats
from tests.strategies import CALM

# Fisher, The Design of Experiments, 1935, section 17: Darwin's maize, crossed less self-fertilised, eighths of an inch.
DARWIN = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)

shapes = st.tuples(st.integers(2, 6), st.integers(2, 12))
whole = st.integers(-50, 50)
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)
families = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=whole)


@st.composite
def paired(draw: st.DrawFn) -> tuple[Correct, Correct]:
    shape = draw(shapes)
    return draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))


def nets(seeds: int, images: int, seed: int = 0, shift: float = 0.3) -> tuple[Correct, Correct]:
    """Two nets on images of which most are easy."""
    rng = np.random.default_rng(seed)
    hard = 1.3 + rng.standard_normal(images)
    a, b = (hard + move + 0.3 * rng.standard_normal((seeds, images)) > 0 for move in (shift, 0.0))
    return a, b


# Accuracy and difference


@CALM
@given(paired())
def test_difference_is_that_of_the_mean_accuracies(both: tuple[Correct, Correct]) -> None:
    a, b = both
    expected = float(np.mean(stats.accuracy(a) - stats.accuracy(b)))
    assert stats.mean_difference(a, b) == pytest.approx(expected, abs=1e-12)
    assert stats.mean_difference(a, b) == -stats.mean_difference(b, a)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.ones((6, 4), bool), np.ones((6, 5), bool), r"shapes \(6, 4\) and \(6, 5\) are not paired"),
        (np.ones((6, 4), bool), np.ones((5, 4), bool), "the same seeds and the same images"),
        (np.ones((6, 4)), np.ones((6, 4)), "an array of float64"),
        (np.ones(6, bool), np.ones(6, bool), r"valid: bool, \(seeds, images\)"),
        (np.ones((0, 4), bool), np.ones((0, 4), bool), "shape"),
    ],
)
def test_arrays_that_are_not_paired(a: Correct, b: Correct, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        stats.mean_difference(a, b)


@pytest.mark.parametrize("shape", [(1, 50), (6, 1)])
def test_no_interval_from_one_seed_or_image(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least 2 of each"):
        stats.paired_bootstrap(np.ones(shape, bool), np.zeros(shape, bool))


# The interval


def test_standard_error_is_that_of_an_analysis_of_variance_by_hand() -> None:
    cells = np.array([[1, 0, -1, 1], [1, 0, 0, 1], [0, -1, 0, 1]], np.int8)
    mean, rows, columns = cells.mean(), cells.mean(axis=1), cells.mean(axis=0)
    ms_rows = 4 * sum((row - mean) ** 2 for row in rows) / 2
    ms_columns = 3 * sum((column - mean) ** 2 for column in columns) / 3
    ms_rest = sum((cells[i, j] - rows[i] - columns[j] + mean) ** 2 for i in range(3) for j in range(4)) / 6
    summed = ms_rows + ms_columns - ms_rest
    error, freedom = stats.two_way(cells)
    assert error == pytest.approx(math.sqrt(summed / 12))
    assert freedom == pytest.approx(2 * (summed / ms_rows) ** 2)


def test_without_differences_between_images_it_is_student_over_the_seeds() -> None:
    a, b = np.zeros((6, 4_000), bool), np.zeros((6, 4_000), bool)
    for seed, count in enumerate((40, 10, 55, 20, 35, 80)):
        first = 100 * seed
        a[seed, first : first + count] = True  # no image is right twice
    found = stats.paired_bootstrap(a, b, draws=20_000)
    expected = reference.ttest_1samp(stats.accuracy(a), 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.degrees_of_freedom == pytest.approx(5, abs=0.05)
    assert stats.two_way_p(found) == pytest.approx(expected.pvalue, rel=0.02)
    assert found.high - found.low == pytest.approx(interval.high - interval.low, rel=0.04)


def test_without_differences_between_seeds_it_is_the_normal_over_the_images() -> None:
    a, b = (np.repeat(net[:1], 6, axis=0) for net in nets(1, 5_000))
    found = stats.paired_bootstrap(a, b)
    differences = a[0].astype(float) - b[0]
    assert found.degrees_of_freedom == math.inf
    assert found.standard_error == pytest.approx(reference.sem(differences))
    expected = reference.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.05)


def test_resampling_is_drawing_rows_and_columns_with_replacement() -> None:
    rng = np.random.default_rng(1)
    cells = rng.choice(np.array([-1, 0, 1], np.int8), size=(4, 30), p=[0.1, 0.6, 0.3])
    cells[0] = np.maximum(cells[0], 0)
    by_index = [cells[rng.integers(0, 4, 4)][:, rng.integers(0, 30, 30)].mean() for _ in range(20_000)]
    found = stats._resampled_means(cells, 20_000, rng)
    assert found.mean() == pytest.approx(cells.mean(), abs=0.005)
    assert found.std() == pytest.approx(np.std(by_index), rel=0.03)
    shares = [0.01, 0.1, 0.5, 0.9, 0.99]
    assert np.quantile(found, shares) == pytest.approx(np.quantile(by_index, shares), abs=0.012)


@CALM
@given(paired())
def test_swapping_the_nets_mirrors_the_interval(both: tuple[Correct, Correct]) -> None:
    a, b = both
    one, other = (stats.paired_bootstrap(*order, draws=200) for order in ((a, b), (b, a)))
    assert one.estimate == -other.estimate
    assert one.standard_error == pytest.approx(other.standard_error)
    if one.estimate:
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


@CALM
@given(st.integers(0, 2**31))
def test_the_order_of_seeds_and_images_says_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = nets(6, 600)
    assert len(set(a.sum(axis=1) - b.sum(axis=1))) == 6  # seeds that differ alike would be in either order
    rows, columns = rng.permutation(6), rng.permutation(600)
    one = stats.paired_bootstrap(a, b, draws=500)
    other = stats.paired_bootstrap(a[rows][:, columns], b[rows][:, columns], draws=500)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


@CALM
@given(paired())
def test_the_interval_holds_its_estimate_and_a_net_equals_itself(both: tuple[Correct, Correct]) -> None:
    a, b = both
    found = stats.paired_bootstrap(a, b, draws=500)
    assert -1 <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1
    same = stats.paired_bootstrap(a, a, draws=50)
    assert (same.estimate, same.low, same.high, same.standard_error) == (0, 0, 0, 0)
    assert stats.two_way_p(same) == 1


def test_certain_difference_has_p_0() -> None:
    found = stats.paired_bootstrap(np.ones((6, 9), bool), np.zeros((6, 9), bool))
    assert (found.low, found.high, stats.two_way_p(found)) == (1, 1, 0)


def test_a_higher_level_is_wider_and_the_seed_fixes_it() -> None:
    a, b = nets(6, 2_000)
    narrow, wide = (stats.paired_bootstrap(a, b, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert stats.paired_bootstrap(a, b) == stats.paired_bootstrap(a, b)
    assert stats.paired_bootstrap(a, b) != stats.paired_bootstrap(a, b, seed=1)


# Sign flips


def test_fishers_permutation_of_darwins_maize() -> None:
    # Fisher, section 21: in 1,726 of 32,768 arrangements the sum is at least 314 either way, 5.267 %.
    assert stats.sign_flip_p(DARWIN) == 1726 / 32768


@CALM
@given(st.lists(whole, min_size=2, max_size=9))
def test_sign_flips_as_scipy_does_them(differences: list[int]) -> None:
    found = reference.permutation_test([differences], np.sum, permutation_type="samples", n_resamples=2**9)
    assert stats.sign_flip_p(differences) == pytest.approx(float(found.pvalue))


@CALM
@given(st.lists(whole, min_size=1, max_size=8), st.permutations(range(8)))
def test_sign_flip_p_depends_on_sizes_alone(differences: list[int], order: list[int]) -> None:
    p_value = stats.sign_flip_p(differences)
    assert stats.smallest_p(len(differences)) <= p_value <= 1
    assert stats.sign_flip_p([-value for value in differences]) == p_value
    shuffled = [differences[place] for place in order if place < len(differences)]
    assert stats.sign_flip_p(shuffled) == p_value
    assert stats.sign_flip_p([value / 10_000 for value in differences]) == p_value


@pytest.mark.parametrize(("seeds", "smallest"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (20, 2**-19), (21, 1 / 20_001)])
def test_smallest_p_is_that_of_differences_all_alike(seeds: int, smallest: float) -> None:
    assert stats.smallest_p(seeds) == smallest
    if seeds <= 20:
        assert stats.sign_flip_p([0.01] * seeds) == smallest


def test_random_flips_come_close_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(2).normal(0.4, 1, 16)
    exact = stats.sign_flip_p(differences)
    monkeypatch.setattr(stats, "EXACT_SEEDS", 10)
    sampled = [stats.sign_flip_p(differences, seed=seed) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled == pytest.approx([exact] * 3, abs=0.012)
    assert stats.sign_flip_p(np.full(40, 0.1)) == 1 / 20_001


def test_no_differences_to_test() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        stats.sign_flip_p([])


# Families


def test_holm_by_a_worked_example() -> None:
    # The example of Wikipedia's "Holm-Bonferroni method": at 0.05 the fourth and the first are rejected, no other.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@CALM
@given(p_lists, st.integers(0, 11), st.floats(0, 1))
def test_holm_keeps_the_order_and_lies_between_nothing_and_bonferroni(
    p_values: list[float], place: int, smaller: float
) -> None:
    adjusted = stats.holm(p_values)
    for p_value, after in zip(p_values, adjusted, strict=True):
        assert p_value <= after <= min(1, len(p_values) * p_value)
    ranked = [adjusted[place] for place in np.argsort(p_values, kind="stable")]
    assert ranked == sorted(ranked)
    less = list(p_values)
    less[place % len(less)] *= smaller
    assert all(new <= old for new, old in zip(stats.holm(less), adjusted, strict=True))


def step_down_by_definition(differences: Floats) -> list[float]:
    """Westfall and Young's algorithm 2.8 over all flips, by loops."""
    flips = [np.array(signs) for signs in product((1, -1), repeat=len(differences))]
    pairs = range(differences.shape[1])
    t = [
        [abs(float(signs @ differences[:, k])) / (math.sqrt(float(np.sum(differences[:, k] ** 2))) or 1) for k in pairs]
        for signs in flips
    ]
    p = [[sum(other[k] >= row[k] - 1e-9 for other in t) / len(t) for k in pairs] for row in t]

    def as_good(flip: int, k: int, pair: int) -> bool:
        less, equal = p[flip][k] < p[0][pair] - 1e-9, abs(p[flip][k] - p[0][pair]) < 1e-9
        return less or (equal and t[flip][k] >= t[0][pair] - 1e-9)

    order = sorted(pairs, key=lambda k: (p[0][k], -t[0][k]))
    adjusted, largest = [0.0] * len(order), 0.0
    for step, pair in enumerate(order):
        share = sum(any(as_good(flip, k, pair) for k in order[step:]) for flip in range(len(flips))) / len(flips)
        largest = max(largest, share)
        adjusted[pair] = largest
    return adjusted


@CALM
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 3)), elements=whole))
def test_step_down_by_its_definition(differences: Floats) -> None:
    assert stats.step_down_p(differences) == pytest.approx(step_down_by_definition(differences))


@CALM
@given(families)
def test_step_down_lies_between_the_raw_p_and_holms(differences: Floats) -> None:
    raw = [stats.sign_flip_p(column) for column in differences.T]
    for low, found, high in zip(raw, stats.step_down_p(differences), stats.holm(raw), strict=True):
        assert low - 1e-12 <= found <= high + 1e-12
    assert stats.step_down_p(differences[:, :1]) == (raw[0],)
    assert stats.step_down_p(-differences) == stats.step_down_p(differences)


def test_step_down_reaches_what_holm_can_not() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 0.003, (6, 5))
    differences[:, 2] += 0.04
    raw = [stats.sign_flip_p(column) for column in differences.T]
    assert min(stats.holm(raw)) >= 5 / 32
    assert stats.step_down_p(differences)[2] == 1 / 32


# Effect size, McNemar, power


def test_aesops_tortoises_and_hares() -> None:
    # The example of Wikipedia's "Mann-Whitney U test": T H H H H H T T T T T H gives U = 11 and 25 of 36.
    tortoises, hares = [12, 6, 5, 4, 3, 2], [11, 10, 9, 8, 7, 1]
    assert stats.probability_of_superiority(tortoises, hares) == pytest.approx(11 / 36)
    assert stats.probability_of_superiority(hares, tortoises) == pytest.approx(25 / 36)


@CALM
@given(st.lists(whole, min_size=1, max_size=8), st.lists(whole, min_size=1, max_size=8))
def test_superiority_is_mann_whitneys_u(a: list[int], b: list[int]) -> None:
    found = stats.probability_of_superiority(a, b)
    assert found == pytest.approx(reference.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert found + stats.probability_of_superiority(b, a) == pytest.approx(1)
    assert stats.probability_of_superiority(a, a) == 0.5


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[Correct, Correct]:
    counts = (both, only_a, only_b, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_of_agrestis_approval_ratings() -> None:
    # Agresti, Categorical Data Analysis, 1990, p. 350; 17.36 without the correction.
    found = counts.mcnemar(*table(794, 150, 86, 570))
    assert (found.only_a, found.only_b, found.form) == (150, 86, "chi-square")
    assert found.statistic == pytest.approx((150 - 86 - 1) ** 2 / 236)
    assert (math.sqrt(found.statistic * 236) + 1) ** 2 / 236 == pytest.approx(17.36, abs=0.005)
    assert found.p_value == pytest.approx(reference.chi2.sf(found.statistic, 1))


@CALM
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_for_any_table(only_a: int, only_b: int, both: int, neither: int) -> None:
    a, b = table(both, only_a, only_b, neither)
    found, mirrored = counts.mcnemar(a, b), counts.mcnemar(b, a)
    assert (found.only_a, found.only_b) == (only_a, only_b) == (mirrored.only_b, mirrored.only_a)
    assert found.p_value == mirrored.p_value
    assert found.form == ("exact" if only_a + only_b < 25 else "chi-square")
    if only_a == only_b:
        assert found.p_value == 1
    elif found.form == "exact":
        assert found.p_value == pytest.approx(reference.binomtest(only_a, only_a + only_b).pvalue)
    else:
        corrected = (abs(only_a - only_b) - 1) ** 2 / (only_a + only_b)
        assert found.p_value == pytest.approx(reference.chi2.sf(corrected, 1))


def test_power_by_a_worked_example() -> None:
    # Dalgaard, Introductory Statistics with R, section 8.3: power.t.test(delta=10, sd=10*sqrt(2), power=0.85,
    # type="paired") gives n = 19.96892.
    pairs = 19.96892
    sd = 10 * math.sqrt(2) * math.sqrt(20 / pairs)
    found = stats.minimum_detectable_difference(sd, 20, freedom=pairs - 1, power=0.85)
    assert found == pytest.approx(10, rel=1e-6)


def test_six_seeds_need_all_signs_equal() -> None:
    found = stats.minimum_detectable_difference(0.3, 6)
    assert reference.norm.cdf(found / 0.3) ** 6 == pytest.approx(0.8)
    assert stats.minimum_detectable_difference(0.3, 5) == math.inf
    assert stats.minimum_detectable_difference(0.0, 6) == 0


@CALM
@given(st.integers(6, 40), st.integers(1, 20), st.floats(1e-4, 0.02), st.floats(0.55, 0.95))
def test_what_makes_a_difference_easier_to_show(seeds: int, family: int, sd: float, power: float) -> None:
    found = stats.minimum_detectable_difference(sd, seeds, family=family, power=power)
    assert 0 < found < math.inf
    assert stats.minimum_detectable_difference(sd, seeds + 1, family=family, power=power) < found
    assert stats.minimum_detectable_difference(sd, seeds, family=family + 1, power=power) >= found
    assert stats.minimum_detectable_difference(sd, seeds, family=family, power=power + 0.04) > found
    assert stats.minimum_detectable_difference(2 * sd, seeds, family=family, power=power) == pytest.approx(2 * found)
    easier = stats.minimum_detectable_difference(sd, seeds, freedom=math.inf, family=family, power=power)
    assert easier <= found


def test_scipy_is_not_loaded_at_once() -> None:
    code = "import sys, fmnist_sweep.verdicts; print('scipy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
