"""A Gaussian process over learning curves: what a net would come to, from its own beginning and how others went.

A point of a net's curve is modelled as

    y(net, point) = centre of the point + its offset + f(x) + g(x, point) + the net's own + noise

where ``x`` describes the net, and ``f`` and ``g`` are Matérn-5/2 processes with one length scale for each feature
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 4.17 and 5.9); ``g`` forgets with the
distance of the points, in doublings of the epochs. So short trainings and long ones teach one model, as in freeze-thaw
Bayesian optimization (Swersky, Snoek and Adams, arXiv 1406.3896), which models the curves otherwise. The scales are at
the maximum of their posterior.

The centre of a point is what the better half of the nets there come to: of nets unlike all that were tried, the model
expects as much, and not what the bad ones would have it expect. And how bad a bad net is teaches nothing about the good
ones: at each point, values are cut off where they are as far above the median as the least is below it. In four studies
of ``default``, the logarithms of the errors of what came later were predicted so with 21 % less deviation at the rung
(18 moments) and 23 % less at the end (8), and the order at the rung better (Spearman 0.74 instead of 0.64).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_MEMORY = 2.0  # doublings of the epochs over which curves may change their order
_OFFSET = 0.1  # standard deviation of the points' offsets
_TAIL = 0.3  # above the median, values up to here are never cut off
_JITTER = 1e-8
# Normal priors of the logarithms of the scales: mean, standard deviation.
_LENGTHS = (np.log(4.0), 1.0)
_SPREADS = (np.log([0.3, 0.2, 0.03]), 1.0)  # of f, of g, of the nets' own
_NOISES = (np.log([0.02, 0.06]), 0.5)  # over many steps, of one step
_PARTS = 3  # f, g, the nets' own
_STEPS = 40
_FAR = 6.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Observations:
    """Points of learning curves, n of them.

    Attributes:
        x: What describes their nets, shape (n, features), columns of about unit spread.
        doublings: log2 of the epochs, shape (n,).
        place: Which report point, shape (n,): each has an offset of its own.
        net: Which net, shape (n,).
        single: Whether one step's weights were scored, and not those of many, shape (n,).
        sure: Whether it is without the noise of scoring, as what is believed, shape (n,).
        y: What is modelled: logarithm of the error, shape (n,).
    """

    x: Floats
    doublings: Floats
    place: Whole
    net: Whole
    single: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    y: Floats

    def with_believed(self, x: Floats, doublings: Floats, place: Whole, net: Whole, y: Floats) -> Observations:
        """These, and what m nets are believed to come to, each at one point.

        Args:
            x: Shape (m, features).
            doublings: Of their points, shape (m,).
            place: Of their points, shape (m,).
            net: Shape (m,).
            y: Shape (m,).
        """
        count = len(net)
        return Observations(
            np.vstack([self.x, x]),
            np.append(self.doublings, doublings),
            np.append(self.place, place),
            np.append(self.net, net),
            np.append(self.single, np.zeros(count, np.bool_)),
            np.append(self.sure, np.ones(count, np.bool_)),
            np.append(self.y, y),
        )


class CurveModel:
    """The process, given observations.

    Args:
        seen: At least one.
        scales: As another model found them; by default found here.
    """

    def __init__(self, seen: Observations, scales: Floats | None = None) -> None:
        self._seen = seen
        cut = _cut_off(seen)
        self._centres = _centres(seen, cut)
        self._y = cut - self._centre_of(seen.place)
        self._near = _nearness(seen.doublings, seen.doublings)
        self._same_place = _same(seen.place, seen.place)
        self._same_net = _same(seen.net, seen.net)
        width = seen.x.shape[1]
        self._expected = np.concatenate([np.full(width, _LENGTHS[0]), _SPREADS[0], _NOISES[0]])
        self._sure = np.concatenate([np.full(width, _LENGTHS[1]), np.full(_PARTS, _SPREADS[1]), np.full(2, _NOISES[1])])
        self.scales = self._found() if scales is None else scales
        covariance, _, _ = self._covariance(self.scales)
        self._factor = linalg.cholesky(covariance, lower=True)
        self._weights = linalg.cho_solve((self._factor, True), self._y)

    def predict(self, x: Floats, doublings: Floats, place: Whole, net: Whole) -> tuple[Floats, Floats]:
        """What nets come to, each at one point, without the noise of scoring.

        Args:
            x: Shape (m, features).
            doublings: Of their points, shape (m,).
            place: Of their points, shape (m,).
            net: Which of the observed nets, shape (m,); -1 for one that is none of them.

        Returns:
            Means and standard deviations, shape (m,) each.
        """
        lengths, (f, g, own), _ = self._split(self.scales)
        _, alike = _matern(x / lengths, self._seen.x / lengths)
        near = _nearness(doublings, self._seen.doublings)
        across = (f + g * near) * alike + own * _same(net, self._seen.net)
        across += _OFFSET**2 * _same(place, self._seen.place)
        explained = linalg.solve_triangular(self._factor, across.T, lower=True)
        variance = f + g + own + _OFFSET**2 - (explained**2).sum(axis=0)
        return self._centre_of(place) + across @ self._weights, np.sqrt(np.maximum(variance, _JITTER))

    def _centre_of(self, place: Whole) -> Floats:
        """Of points; where none was observed, of the nearest that was."""
        known = np.array(sorted(self._centres))
        nearest = known[np.abs(place[:, None] - known[None, :]).argmin(axis=1)]
        return np.array([self._centres[int(it)] for it in nearest])

    def _found(self) -> Floats:
        """The scales at the maximum of their posterior, or where they are expected if none is found."""
        found = optimize.minimize(
            self.surprise,
            self._expected,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(*self.bounds),
            options={"maxiter": _STEPS},
        )
        scales: Floats = found.x
        return scales if np.isfinite(found.fun) and np.isfinite(scales).all() else self._expected

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The least and the greatest scales that are tried, so that no step of the search ends in infinities."""
        return self._expected - _FAR * self._sure, self._expected + _FAR * self._sure

    def _split(self, scales: Floats) -> tuple[Floats, Floats, Floats]:
        """Length scales; variances of f, of g and of the nets' own; variances of the two noises."""
        width = self._seen.x.shape[1]
        values = np.exp(scales)
        return values[:width], values[width : width + _PARTS] ** 2, values[width + _PARTS :] ** 2

    def _covariance(self, scales: Floats) -> tuple[Floats, Floats, Floats]:
        """Of the observations; and how far apart and how alike their nets are; shape (n, n) each."""
        lengths, (f, g, own), noises = self._split(scales)
        scaled = self._seen.x / lengths
        distance, alike = _matern(scaled, scaled)
        covariance = (f + g * self._near) * alike
        covariance += own * self._same_net + _OFFSET**2 * self._same_place
        noise = np.where(self._seen.sure, 0.0, noises[self._seen.single.astype(int)])
        covariance[np.diag_indices_from(covariance)] += noise + _JITTER
        return covariance, distance, alike

    def surprise(self, scales: Floats) -> tuple[float, Floats]:
        """Negative logarithm of the scales' posterior, up to a constant, and its gradient.

        Args:
            scales: Logarithms of the length scales; of the spreads of f, g and of the nets' own; of the noises.
        """
        covariance, distance, alike = self._covariance(scales)
        try:
            factor = linalg.cholesky(covariance, lower=True)
        except linalg.LinAlgError:
            return 1e10, np.zeros_like(scales)
        weights = linalg.cho_solve((factor, True), self._y)
        away = (scales - self._expected) / self._sure
        value = 0.5 * self._y @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        # d value / d scale is half the trace of ``inner`` times the derivative of the covariance.
        inner = linalg.cho_solve((factor, True), np.eye(len(weights))) - np.outer(weights, weights)
        lengths, (f, g, own), noises = self._split(scales)
        root = np.sqrt(5.0) * distance
        slope = inner * (f + g * self._near) * (5.0 / 3.0) * (1.0 + root) * np.exp(-root)
        scaled = self._seen.x / lengths
        by_length = slope.sum(axis=1) @ scaled**2 - (scaled * (slope @ scaled)).sum(axis=0)
        diagonal, single = np.where(self._seen.sure, 0.0, np.diag(inner)), self._seen.single
        by_spread = [
            f * (inner * alike).sum(),
            g * (inner * alike * self._near).sum(),
            own * (inner * self._same_net).sum(),
        ]
        by_noise = [noises[0] * diagonal[~single].sum(), noises[1] * diagonal[single].sum()]
        return float(value), np.concatenate([by_length, by_spread, by_noise]) + away / self._sure


def _cut_off(seen: Observations) -> Floats:
    """``seen.y``, the highest values at each point cut off, see the module; what is believed stays as it is."""
    y = seen.y.copy()
    for place in np.unique(seen.place):
        there = (seen.place == place) & ~seen.sure
        if there.any():
            median = float(np.median(y[there]))
            y[there] = np.minimum(y[there], median + max(median - y[there].min(), _TAIL))
    return y


def _centres(seen: Observations, y: Floats) -> dict[int, float]:
    """By point, the mean of the better half of what was observed there, or is believed where nothing was."""
    found = {}
    for place in np.unique(seen.place):
        there = seen.place == place
        observed = there & ~seen.sure
        values = np.sort(y[observed if observed.any() else there])
        found[int(place)] = float(values[: (len(values) + 1) // 2].mean())
    return found


def _nearness(a: Floats, b: Floats) -> Floats:
    return np.exp(-np.abs(a[:, None] - b[None, :]) / _MEMORY)


def _same(a: Whole, b: Whole) -> Floats:
    return np.equal.outer(a, b).astype(np.float64)


def _matern(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Distances between rows, and the Matérn-5/2 correlation at those distances, shape (n, m) each."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    distance = np.sqrt(np.maximum(squares, 0.0))
    root = np.sqrt(5.0) * distance
    return distance, (1.0 + root + root**2 / 3.0) * np.exp(-root)
