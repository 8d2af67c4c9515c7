"""Statistics of counts: the share of images that a net classifies correctly, and two nets on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Correct = NDArray[np.bool_]

NORMAL_95 = 1.959964  # the normal's 97.5 % quantile
EXACT_DISCORDANT = 25


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of two classifiers on the same images.

    Attributes:
        only_a: Cases that only the first classifies correctly.
        only_b: Cases that only the second does.
        statistic: The smaller count (``exact``) or the corrected chi-square with one degree of freedom.
        p_value: Two-sided.
        form: ``exact`` binomial for fewer than 25 discordant cases, else ``chi-square``.
    """

    only_a: int
    only_b: int
    statistic: float
    p_value: float
    form: Literal["exact", "chi-square"]


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, Journal of the American Statistical Association 22, 1927)."""
    share, weight = hits / images, NORMAL_95**2 / images
    middle = (share + weight / 2) / (1 + weight)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / images + weight / (4 * images)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def margin(share: float, images: int) -> float:
    """Half the 95 % interval of a share of so many images, by the normal; of none or all of them, Wilson's whole."""
    if 0 < share < 1:
        return NORMAL_95 * math.sqrt(share * (1 - share) / images)
    low, high = wilson(round(share * images), images)
    return high - low


def mcnemar(a_correct: Correct, b_correct: Correct) -> McNemar:
    """McNemar's test (Psychometrika 12, 1947), with Edwards' continuity correction (1948).

    The cases must be independent: one pair of predictions on different images. Several seeds pooled give a
    p-value that is too small, since one image then counts several times.

    Args:
        a_correct: bool, any shape.
        b_correct: bool, the same shape.
    """
    from scipy import special

    only_a = int(np.count_nonzero(a_correct & ~b_correct))
    only_b = int(np.count_nonzero(b_correct & ~a_correct))
    discordant = only_a + only_b
    if discordant < EXACT_DISCORDANT:
        fewer = min(only_a, only_b)
        p_value = min(1.0, 2 * float(special.bdtr(fewer, discordant, 0.5))) if discordant else 1.0
        return McNemar(only_a, only_b, float(fewer), p_value, "exact")
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / discordant
    return McNemar(only_a, only_b, statistic, float(special.chdtrc(1, statistic)), "chi-square")


def few_images_p(a: Correct, b: Correct) -> float:
    """Exact sign test (``mcnemar``) of the images that one net's seeds get right more often than the other's.

    For nets that differ on fewer than ``EXACT_DISCORDANT`` images, where a t of the mean promises too much; 0 for
    others, which it says nothing of. Arrays as in ``paired_bootstrap``.
    """
    lead = a.sum(axis=0, dtype=np.int64) - b.sum(axis=0, dtype=np.int64)
    found = mcnemar(lead > 0, lead < 0)
    return found.p_value if found.form == "exact" else 0.0
