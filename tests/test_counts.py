"""Shares of few images, and nets that are always right."""

from __future__ import annotations

import numpy as np
import pytest

from fmnist_sweep import counts, stats
from fmnist_sweep.verdicts import pair_verdict


def test_a_net_that_is_always_right_may_still_err_on_other_images() -> None:
    found = stats.accuracy_interval(np.ones((6, 20), bool))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(counts.wilson(20, 20)[0])
    assert found.low < 0.9
    assert counts.margin(1.0, 20) == pytest.approx(1 - found.low)
    assert counts.margin(0.0, 20) == pytest.approx(counts.margin(1.0, 20))
    assert counts.margin(0.5, 100) == pytest.approx(0.098, abs=1e-4)


@pytest.mark.parametrize(("images", "verdict"), [(4, "not distinguishable"), (6, "better")])
def test_a_handful_of_images_is_judged_exactly(images: int, verdict: str) -> None:
    ours, theirs = np.ones((6, 60), bool), np.ones((6, 60), bool)
    theirs[:, :images] = False  # every seed of one gets these right, and none of the other
    assert counts.few_images_p(ours, theirs) == pytest.approx(2.0 ** (1 - images))
    assert pair_verdict(ours, theirs).verdict == verdict
    assert counts.few_images_p(ours, ours) == 1.0


def test_of_nets_that_differ_on_many_images_the_exact_test_says_nothing() -> None:
    ours, theirs = np.ones((6, 60), bool), np.ones((6, 60), bool)
    theirs[:, : counts.EXACT_DISCORDANT] = False
    assert counts.few_images_p(ours, theirs) == 0.0
