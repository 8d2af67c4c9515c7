"""Are the verdicts calibrated? Nets of known accuracy, simulated: do intervals hold it, are verdicts false?

    nice -n 19 python benchmarks/calibration_simulated.py --pairs 2000

The model: net k under seed s classifies image i correctly where

    quantile(accuracy) + hard_i + taste_ki + noise_ksi + shift_ks > 0

``hard`` is shared by all nets, ``taste`` belongs to a net, ``noise`` to one run on one image; ``shift`` moves a
whole run. The first three are normal with variances that add up to 1: two runs of one net correlate by ``ALIKE``,
two nets by ``kin``. At an accuracy of 0.91 most images are always right and some always wrong. The truth is over all
seeds and all images, so each replicate draws both anew.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import scipy
from scipy import special

from fmnist_sweep.stats import Correct
from fmnist_sweep.verdicts import PairVerdict, compare_all

IMAGES = 10_000
ALIKE = 0.94


@dataclass(frozen=True)
class Net:
    """A net to simulate.

    Attributes:
        accuracy: With no shift.
        shift: Standard deviation of whole runs in accuracy, beside what single images do.
        skewed: Runs that go wrong go far wrong (exponential shifts), else normal shifts.
        like: Index of the net that this one is in truth.
    """

    accuracy: float = 0.91
    shift: float = 0.002
    skewed: bool = False
    like: int | None = None

    @property
    def centre(self) -> float:
        return float(special.ndtri(self.accuracy))

    def shifts(self, shares: np.ndarray) -> np.ndarray:
        """Latent shifts at these quantiles."""
        unit = 1 + np.log(shares) if self.skewed else special.ndtri(shares)
        slope = np.exp(-(self.centre**2) / 2) / np.sqrt(2 * np.pi)  # of accuracy in the latent shift
        return np.asarray(self.shift / slope * unit)

    @property
    def truth(self) -> float:
        grid = (np.arange(20_000) + 0.5) / 20_000
        return float(special.ndtr(self.centre + self.shifts(grid)).mean())


def simulate(
    nets: Sequence[Net], seeds: int, rng: np.random.Generator, *, kin: float = 0.90, images: int = IMAGES
) -> list[Correct]:
    """One array of shape (seeds, images) for each net."""
    hard = rng.standard_normal(images, dtype=np.float32) * np.sqrt(kin)
    tastes = [rng.standard_normal(images, dtype=np.float32) * np.sqrt(ALIKE - kin) for _ in nets]
    found = []
    for place, net in enumerate(nets):
        noise = rng.standard_normal((seeds, images), dtype=np.float32) * np.sqrt(1 - ALIKE)
        taste = tastes[place if net.like is None else net.like]
        found.append(net.centre + hard + taste + noise + net.shifts(rng.random((seeds, 1))) > 0)
    return found


@dataclass(frozen=True)
class Scenario:
    """Nets, the pairs that are compared as one family, and seeds of each."""

    name: str
    nets: tuple[Net, ...]
    pairs: tuple[tuple[int, int], ...] = ((0, 1),)
    seeds: int = 6
    kin: float = 0.90
    images: int = IMAGES

    def run(self, times: int, draws: int, rng: np.random.Generator) -> list[tuple[PairVerdict, ...]]:
        named = [(str(a), str(b)) for a, b in self.pairs]
        found = []
        for _ in range(times):
            arrays = simulate(self.nets, self.seeds, rng, kin=self.kin, images=self.images)
            found.append(compare_all({str(k): array for k, array in enumerate(arrays)}, named, draws=draws))
        return found

    def true_differences(self) -> np.ndarray:
        truths = [net.truth for net in self.nets]
        return np.array([truths[a] - truths[b] for a, b in self.pairs])


BAD_RUNS = Net(shift=0.01, skewed=True)
BAD_RUNS = replace(BAD_RUNS, accuracy=BAD_RUNS.accuracy + Net().truth - BAD_RUNS.truth)  # as good as Net() in the mean
LAB_PAIRS = ((1, 0), (2, 1), (3, 2), (4, 0), (4, 1), (4, 2), (4, 3))
LAB_NETS = (Net(0.875), Net(0.907), Net(0.911), Net(0.911, shift=0.01, skewed=True), Net(0.925))
SINGLE = (
    Scenario("A/A: one net beside itself", (Net(), Net(like=0))),
    Scenario("A/A, runs differ on single images alone", (Net(shift=0.0), Net(shift=0.0, like=0))),
    Scenario("two nets, equally good", (Net(), Net())),
    Scenario("two nets, equally good, no shift", (Net(shift=0.0), Net(shift=0.0))),
    Scenario("two nets, equally good, shift 0.5 points", (Net(shift=0.005), Net(shift=0.005))),
    Scenario("two nets, 0.4 points apart", (Net(0.914), Net())),
    Scenario("two nets, 0.8 points apart", (Net(0.918), Net())),
    Scenario("two very different nets, 4 points apart", (Net(), Net(0.87)), kin=0.75),
    Scenario("equally good, one with runs that go wrong (1 point, skewed)", (Net(), BAD_RUNS)),
    Scenario("A/A of such a net", (BAD_RUNS, replace(BAD_RUNS, like=0))),
    Scenario("two nets, 0.4 points apart, 10 seeds", (Net(0.914), Net()), seeds=10),
)
FAMILIES = (
    Scenario("6 pairs of one net", (Net(), *[Net(like=0)] * 3), tuple(combinations(range(4), 2))),
    Scenario("6 pairs of 4 nets, equally good", (Net(),) * 4, tuple(combinations(range(4), 2))),
    Scenario("the same, 10 seeds", (Net(),) * 4, tuple(combinations(range(4), 2)), seeds=10),
    Scenario("like the lab's, 7 pairs", LAB_NETS, LAB_PAIRS),
    Scenario("like the lab's, 7 pairs, 8 seeds", LAB_NETS, LAB_PAIRS, seeds=8),
)


def report(scenario: Scenario, times: int, draws: int, rng: np.random.Generator) -> float:
    """Prints a scenario's figures; returns the mean of the minimum detectable difference of its first pair."""
    began = time.perf_counter()
    found = scenario.run(times, draws, rng)
    truths = scenario.true_differences()
    truths[np.abs(truths) < 1e-5] = 0.0
    low, high, estimate = (
        np.array([[getattr(verdict, name) for verdict in verdicts] for verdicts in found])
        for name in ("ci_low", "ci_high", "mean_difference")
    )
    held = (low <= truths) & (truths <= high)
    shown = np.array([[verdict.verdict != "not distinguishable" for verdict in verdicts] for verdicts in found])
    false = shown & (np.sign(estimate) != np.sign(truths))
    right = shown & (np.sign(estimate) == np.sign(truths))
    smallest = np.mean([verdicts[0].minimum_detectable_difference for verdicts in found])
    print(f"{scenario.name} ({scenario.seeds} seeds, n={times}, {time.perf_counter() - began:.0f} s)")
    print(f"    true difference, points   {_row(100 * truths, '.2f')}")
    print(f"    interval holds it         {_row(100 * held.mean(axis=0), '.1f')} %")
    print(f"    below it, above it        {_row(100 * (high < truths).mean(axis=0), '.1f')} %,"
          f" {_row(100 * (low > truths).mean(axis=0), '.1f')} %")  # fmt: skip
    print(f"    width, points             {_row(100 * (high - low).mean(axis=0), '.2f')}")
    print(f"    verdict right             {_row(100 * right.mean(axis=0), '.1f')} %")
    print(f"    any verdict false         {100 * false.any(axis=1).mean():.1f} %")
    print(f"    minimum detectable        {100 * smallest:.2f} points (first pair)", flush=True)
    return float(smallest)


def _row(values: np.ndarray, form: str) -> str:
    return " ".join(f"{value:{form}}" for value in values)


def calibrate(pairs: int, draws: int, seed: int) -> None:
    """Prints everything: single pairs, families, and the power at the minimum detectable difference."""
    rng = np.random.default_rng(seed)
    print(
        f"{IMAGES:,} images, {draws:,} bootstrap draws, seed {seed}; standard error of a share of 5 % or 95 %: "
        f"{100 * np.sqrt(0.05 * 0.95 / pairs):.1f} % (n={pairs})\n"
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, {platform.machine()}"
    )
    smallest = [report(scenario, pairs, draws, rng) for scenario in SINGLE]
    for scenario in FAMILIES:
        report(scenario, max(pairs // 4, 1), draws, rng)
    apart = smallest[2]
    for seeds, distance in ((6, apart), (10, smallest[-1])):
        name = f"two nets the minimum detectable difference apart ({100 * distance:.2f} points)"
        report(Scenario(name, (Net(0.91 + distance), Net()), seeds=seeds), pairs, draws, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000, help="simulated pairs of each kind (families: a quarter)")
    parser.add_argument("--draws", type=int, default=2_000, help="bootstrap draws; the command line has 10,000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    calibrate(options.pairs, options.draws, options.seed)


if __name__ == "__main__":
    main()
