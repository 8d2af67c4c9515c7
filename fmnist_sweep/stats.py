"""The statistics of a comparison: pure functions of arrays, nothing random that a seed does not fix.

What is compared: for each net a boolean array ``correct`` of shape (seeds, images), True where the net that
was trained under seed s classifies test image i correctly. Nets are paired: row s of all of them was trained
under the same seed, column i of all of them is the same image. Accuracies and their differences are
fractions, 0.01 is one point. scipy is loaded when a function needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmnist_sweep.counts import Correct as Correct
from fmnist_sweep.counts import wilson
from fmnist_sweep.errors import UsageError

Floats = NDArray[np.float64]

EXACT_SEEDS = 20
RANDOM_FLIPS = 20_000
NORMAL_FREEDOM = 1e6  # from so many degrees of freedom on, t is the normal to six digits
_CHUNK = 1_000
_TIE = 1e-9  # what the same sum in another order may differ by, and more


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a difference of accuracies.

    Attributes:
        estimate: The mean difference.
        low: Lower end.
        high: Upper end.
        level: Share of such intervals that hold the true difference.
        standard_error: Of the estimate, seeds and images both taken as samples.
        degrees_of_freedom: Of the standard error; at least seeds - 1, infinite if it is 0.
    """

    estimate: float
    low: float
    high: float
    level: float
    standard_error: float
    degrees_of_freedom: float


def accuracy(correct: Correct) -> Floats:
    """Accuracy under each seed, shape (seeds,)."""
    return np.asarray(correct.mean(axis=1), dtype=np.float64)


def mean_difference(a: Correct, b: Correct) -> float:
    """Mean accuracy of ``a`` less that of ``b``; exact, so that swapping the nets swaps the sign alone."""
    check_paired(a, b)
    return (int(a.sum()) - int(b.sum())) / a.size


def check_paired(a: Correct, b: Correct) -> None:
    """Raises UsageError unless both are boolean, of one shape, and hold a seed and an image."""
    for correct in (a, b):
        if correct.dtype != np.bool_ or correct.ndim != 2 or correct.size == 0:
            raise UsageError(
                f"an array of {correct.dtype} of shape {correct.shape} can't be compared; valid: bool, (seeds, images)"
            )
    if a.shape != b.shape:
        raise UsageError(f"shapes {a.shape} and {b.shape} are not paired; valid: the same seeds and the same images")


def paired_bootstrap(a: Correct, b: Correct, *, draws: int = 10_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Confidence interval of the mean difference in accuracy, from a bootstrap over seeds x images.

    Seeds and images are drawn with replacement, each for itself, and crossed (the pigeonhole bootstrap: Owen,
    The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Its quantiles as they are would be wrong
    here: with n seeds their part of the spread is too small by (n - 1) / n and its tails are those of a
    normal, while the noise of the single cells counts about three times (Owen). So the quantiles are stretched
    about the estimate, by one factor for both sides, until the spread is that of

    - the unbiased standard error of a two-way layout without replication (``two_way``), with
    - Student's t in place of the normal, its degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 1946);
      the cure for few samples is that of Hesterberg's expanded percentiles (What teachers should know about
      the bootstrap, The American Statistician 69, 2015).

    Measured by ``benchmarks/calibration_simulated.py`` with 6 seeds and 10,000 images: 94.3 to 95.7 % of the 95 %
    intervals hold the truth (2,000 simulated pairs of each of 9 kinds), but only 89 % where the runs of one net alone
    now and then go far wrong, which 6 seeds can't show.

    Args:
        a: bool, shape (seeds, images), at least 2 seeds and 2 images.
        b: Paired with ``a``.
        draws: Bootstrap samples.
        level: Confidence, above 0 and below 1.
        seed: Of the draws.

    Raises:
        UsageError: The arrays are not paired, or hold only one seed or image.
    """
    from scipy import special

    estimate = mean_difference(a, b)
    cells = a.astype(np.int8) - b.astype(np.int8)
    standard_error, freedom = two_way(cells)
    off = _deviations(cells, estimate, draws, seed)
    spread, tail, stretch = float(off.std()), (1 - level) / 2, 0.0
    if spread > 0 and standard_error > 0:
        student_to_normal = float(special.stdtrit(min(freedom, NORMAL_FREEDOM), tail) / special.ndtri(tail))
        stretch = student_to_normal * standard_error / spread
    low, high = np.clip(estimate + stretch * np.quantile(off, [tail, 1 - tail]), -1.0, 1.0)
    return Interval(estimate, float(low), float(high), level, standard_error, freedom)


def accuracy_interval(correct: Correct) -> Interval:
    """Of one net's accuracy: its difference to a net that is never right; ``correct`` as in ``paired_bootstrap``.

    Where no run differs from another on any image, which says nothing of other images, it is ``wilson``'s.
    """
    found = paired_bootstrap(correct, np.zeros_like(correct))
    if found.standard_error > 0:
        return found
    low, high = wilson(int(correct[0].sum()), correct.shape[1])
    return replace(found, low=low, high=high)


def two_way_p(interval: Interval) -> float:
    """Two-sided p-value of no difference, over other seeds and other images: Student's t of the interval's error."""
    from scipy import special

    if interval.standard_error == 0:
        return 1.0 if interval.estimate == 0 else 0.0
    t = abs(interval.estimate) / interval.standard_error
    return float(2 * special.stdtr(min(interval.degrees_of_freedom, NORMAL_FREEDOM), -t))


def two_way(cells: NDArray[np.int8]) -> tuple[float, float]:
    """Standard error of the mean of ``cells`` and its degrees of freedom, rows and columns both being samples.

    With the mean squares of a two-way layout without replication (Searle, Casella and McCulloch, Variance
    Components, 1992, chapter 4), the variance of the mean is (MS_rows + MS_columns - MS_rest) / (rows x
    columns). MS_columns - MS_rest estimates a variance, so it counts as 0 where it is below. With thousands
    of columns only MS_rows is uncertain: Satterthwaite's degrees of freedom are (rows - 1) times the square
    of the sum over MS_rows.

    Args:
        cells: Differences of -1, 0 or 1, shape (seeds, images).

    Raises:
        UsageError: Fewer than 2 rows or columns.
    """
    rows, columns = cells.shape
    if min(rows, columns) < 2:
        raise UsageError(f"{rows} seeds and {columns} images give no interval; valid: at least 2 of each")
    mean = cells.mean()
    by_row = cells.mean(axis=1) - mean
    by_column = cells.mean(axis=0) - mean
    between_rows = columns * float(by_row @ by_row)
    between_columns = rows * float(by_column @ by_column)
    total = float(np.count_nonzero(cells)) - cells.size * float(mean) ** 2
    rest = max(total - between_rows - between_columns, 0.0) / ((rows - 1) * (columns - 1))
    ms_rows = between_rows / (rows - 1)
    summed = ms_rows + max(between_columns / (columns - 1) - rest, 0.0)
    freedom = (rows - 1) * (summed / ms_rows) ** 2 if ms_rows > 0 else math.inf
    return math.sqrt(summed / cells.size), freedom


def _deviations(cells: NDArray[np.int8], estimate: float, draws: int, seed: int) -> Floats:
    """Means of bootstrap samples less the estimate: for swapped nets the same with the other sign.

    The seeds are put in the order of their differences, so that their order at hand changes no draw.
    """
    sign = _orientation(cells)
    oriented = sign * cells
    oriented = oriented[np.argsort(oriented.sum(axis=1), kind="stable")]
    return sign * (_resampled_means(oriented, draws, np.random.default_rng(seed)) - sign * estimate)


def _orientation(cells: NDArray[np.int8]) -> int:
    """1 or -1: whichever makes ``cells`` the same for swapped nets, by the first sums in which the two differ."""
    for sums in (cells.sum(axis=1), cells.sum(axis=0)):
        ours, theirs = np.sort(sums), np.sort(-sums)
        differing = np.flatnonzero(ours != theirs)
        if differing.size:
            return 1 if ours[differing[0]] > theirs[differing[0]] else -1
    return 1


def _resampled_means(cells: NDArray[np.int8], draws: int, rng: np.random.Generator) -> Floats:
    """Means of ``cells``, (seeds, images) of -1, 0 or 1, over ``draws`` samples of rows and of columns.

    Given how often each row was drawn, the sum of a column is one of a few whole numbers, so drawing columns
    is drawing how often each of these numbers comes: a few binomials in place of thousands of indices.
    """
    rows, columns = cells.shape
    patterns, held = np.unique(cells.T, axis=0, return_counts=True)  # (patterns, seeds), (patterns,)
    sums = np.arange(-rows, rows + 1)
    found = []
    for first in range(0, draws, _CHUNK):
        times = rng.multinomial(rows, np.full(rows, 1 / rows), size=min(_CHUNK, draws - first))
        kinds, which = np.unique(times, axis=0, return_inverse=True)
        bins = kinds @ patterns.T.astype(np.int64) + rows + np.arange(len(kinds))[:, None] * len(sums)
        counts = np.bincount(bins.ravel(), np.tile(held, len(kinds)), len(kinds) * len(sums))
        shares = counts.reshape(len(kinds), len(sums))[which.ravel()] / columns
        found.append(rng.multinomial(columns, shares) @ sums / cells.size)
    return np.concatenate(found)


def sign_flip_p(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p-value of paired differences under random signs (Fisher, The Design of Experiments, 1935, sec. 21).

    The share of all 2^n ways to set the signs of the n differences whose sum is at least as far from 0 as the
    observed one. Exact for up to 20 differences; for more, the observed signs and 20,000 random ones
    (Phipson and Smyth, Permutation p-values should never be zero, 2010).

    Args:
        differences: One for each seed, shape (seeds,).
        seed: Of the random signs.
    """
    sizes = _flipped(np.asarray(differences, dtype=np.float64)[:, None], seed)
    return float(np.mean(sizes >= sizes[0] - _TIE))


def smallest_p(seeds: int) -> float:
    """The smallest p-value that ``sign_flip_p`` can give for so many differences; below 0.05 from 6 on."""
    return 2.0 ** (1 - seeds) if seeds <= EXACT_SEEDS else 1 / (RANDOM_FLIPS + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given (Holm, A simple sequentially rejective multiple test procedure, 1979).

    After Holm, sign-flip p-values of 6 seeds are never below 0.05 where the family has more than one member:
    the smallest is 2 x 2/64. ``step_down_p`` has no such floor.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for left, place in zip(
        range(len(p_values), 0, -1), sorted(range(len(p_values)), key=lambda place: p_values[place]), strict=True
    ):
        largest = max(largest, min(1.0, left * p_values[place]))
        adjusted[place] = largest
    return tuple(adjusted)


def step_down_p(differences: ArrayLike, *, seed: int = 0) -> tuple[float, ...]:
    """Sign-flip p-values adjusted over a family: Holm's step-down, a seed's sign flipped in all pairs at once.

    Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8 (step-down minP), equal p-values
    ranked by the size of t. Where Holm adds up the chances of the pairs still in the running, this counts the
    flips in which any of them does as well as the pair in question. So it is never above ``holm`` of
    ``sign_flip_p``, is equal to ``sign_flip_p`` for a family of one, and can reach ``smallest_p`` whatever the
    size of the family. The chance of any false finding is at most the level where the seeds' noise is symmetric.

    Args:
        differences: Shape (seeds, pairs), rows of one seed each.
        seed: Of the random signs for more than 20 seeds.

    Returns:
        One adjusted p-value for each pair, in their order.
    """
    sizes = _flipped(np.asarray(differences, dtype=np.float64), seed)  # (flips, pairs), the observed first
    as_large = np.stack([_as_large(column) for column in sizes.T], axis=1)
    merit = sizes / 2 - as_large  # the fewer flips are as large the better, then the larger
    best = np.full(len(sizes), -np.inf)
    adjusted = np.ones(sizes.shape[1])
    order = np.argsort(merit[0], kind="stable")
    for pair in order:
        best = np.maximum(best, merit[:, pair])
        adjusted[pair] = np.mean(best >= merit[0, pair] - _TIE)
    for better, worse in pairwise(order[::-1]):
        adjusted[worse] = max(adjusted[worse], adjusted[better])
    return tuple(float(p_value) for p_value in adjusted)


def _flipped(differences: Floats, seed: int) -> Floats:
    """|sum| / sqrt(n x sum of squares), 0 to 1 and rising with |t|, for each flip; the observed signs first.

    Args:
        differences: Shape (seeds, pairs).
        seed: Of the random signs.

    Returns:
        Shape (flips, pairs); sums that are equal may differ by their rounding, which is far below ``_TIE``.
    """
    seeds = len(differences)
    if seeds == 0:
        raise UsageError("no differences to test; valid: one for each seed, at least 1")
    largest = np.sqrt(seeds * np.sum(differences**2, axis=0))
    scaled = differences / np.where(largest > 0, largest, 1.0)
    return np.concatenate([np.abs(signs @ scaled) for signs in _signs(seeds, seed)])


def _as_large(values: Floats) -> NDArray[np.int64]:
    """For each value, how many are at least as large, ties counted as equal."""
    order = np.argsort(values)
    ranked = values[order]
    counts = np.empty(len(values), dtype=np.int64)
    counts[order] = len(values) - np.searchsorted(ranked, ranked - _TIE)  # queries in order: the cache serves them
    return counts


def _signs(seeds: int, seed: int) -> Iterator[Floats]:
    """Blocks of signs, shape (some, seeds): one of each two opposite ones, or random ones; all 1 comes first."""
    if seeds > EXACT_SEEDS:
        yield np.ones((1, seeds))
        yield _as_signs(np.random.default_rng(seed).integers(0, 2, size=(RANDOM_FLIPS, seeds)))
        return
    block = 1 << 16
    for first in range(0, 1 << (seeds - 1), block):
        codes = np.arange(first, min(first + block, 1 << (seeds - 1)))
        yield _as_signs((codes[:, None] >> np.arange(seeds)) & 1)


def _as_signs(bits: NDArray[np.int64]) -> Floats:
    return 1.0 - 2.0 * bits.astype(np.float64)


def probability_of_superiority(a: ArrayLike, b: ArrayLike) -> float:
    """P(a > b) + P(a = b) / 2 over all pairs of one value of each (Vargha and Delaney's A, 2000).

    Args:
        a: Accuracies of one net, shape (seeds,).
        b: Of the other.
    """
    signs = np.sign(np.subtract.outer(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))
    return float((signs.sum() / signs.size + 1) / 2)


def minimum_detectable_difference(
    sd: float, seeds: int, *, freedom: float | None = None, level: float = 0.05, power: float = 0.8, family: int = 1
) -> float:
    """The smallest true difference that so many seeds show with probability ``power``, about.

    From the noncentral t (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988) of a
    two-sided paired test at ``level / family``, which is what the first of Holm's steps asks for; findings in
    the wrong direction don't count. Where a sign-flip test needs all signs equal to reach ``level`` (6 seeds
    at 0.05) the difference must do that too: power is then normal(difference / sd) ^ seeds, which is on the
    safe side where ``sd`` holds the images' part.

    Args:
        sd: Standard deviation of the seeds' differences, or standard error x sqrt(seeds).
        seeds: Pairs.
        freedom: Degrees of freedom of ``sd``; seeds - 1 unless told.
        level: Of the whole family.
        power: Wanted, above ``level``.
        family: Pairs that are judged together.

    Returns:
        A fraction like accuracy; infinite where so few seeds can't reach ``level`` at all.
    """
    from scipy import special

    if smallest_p(seeds) > level:
        return math.inf
    freedom = min(seeds - 1 if freedom is None else freedom, NORMAL_FREEDOM)
    critical = -float(special.stdtrit(freedom, level / family / 2))
    needed = float(special.nctdtrinc(freedom, 1 - power, critical)) * sd / math.sqrt(seeds)
    if 2 * smallest_p(seeds) > level:
        needed = max(needed, sd * float(special.ndtri(power ** (1 / seeds))))
    return needed
