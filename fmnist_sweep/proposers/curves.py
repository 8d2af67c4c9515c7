"""Proposals by expected improvement over a model of all learning curves so far, see ``curve_model``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special
from threadpoolctl import threadpool_limits

from fmnist_sweep import arithmetic, pruning
from fmnist_sweep.curve_model import CurveModel, Floats, Observations, Whole
from fmnist_sweep.proposers.base import Excess, Past, Prints, Proposal, Task, telling
from fmnist_sweep.proposers.draws import Draws, drawn, fresh
from fmnist_sweep.proposers.features import features

_DRAWS = 400  # candidates at random, those over the limits counted
_FEW, _MOST_DRAWS = 200, 4_000  # so many within them at least, if so many draws bring them
_BEST, _LIKE_BEST = 5, 40  # so many of the best trials, and candidates that are like each
_TRIES = 80  # random draws for one that is new, and unlike the earlier
_TOLD = 80  # trials that the model is told of at most; its time grows with their cube
_POINTS = 12  # and so many points of each one's curve
_LEAST_ERROR = 0.001


class CurveProposer:
    """See ``Proposer``.

    What a candidate is worth: by how much its error is expected to come out below the best expected so far, at the end
    of training or as far as any trial has come, by the time that it takes to train (Snoek, Larochelle and Adams,
    Practical Bayesian Optimization of Machine Learning Algorithms, NIPS 2012, section 3.2). Errors are those that
    trials are compared by, the price of their time included. Trials that have not reported yet are believed to come
    out as expected.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._prints = Prints()

    def ask(self, past: Sequence[Past], excess: Excess) -> Proposal | None:
        """See ``Proposer``; until ``startup_trials`` trials have reported, a quick net most unlike the earlier."""
        known = set(self._prints.all(past))
        of_memory = _fitting(past)

        def fits(proposal: Proposal) -> bool:
            return excess(proposal) <= 0 and of_memory(proposal)

        def valid(proposal: Proposal) -> bool:
            return fits(proposal) and proposal.fingerprint not in known

        taught = [it for it in past if _teaches(it)]
        if len(taught) >= self._task.config.study.startup_trials:
            pending = [it for it in past if it.standing == "running" and not it.scores]
            candidates = self._candidates(taught, len(past), fits)
            with threadpool_limits(1):  # the cores are the workers', and one thread always adds up in the same order
                told = [taught[place] for place in telling(taught, _TOLD)]
                order = self._order(told, pending[-_TOLD:], candidates) if candidates else []
            found = next((candidates[place] for place in order if candidates[place].fingerprint not in known), None)
            if found is not None:
                return found
        draws = [drawn(self._task, Draws(f"{self._task.seed}-{len(past)}-new-{turn}")) for turn in range(_TRIES)]
        quick = _quicker_half([it for it in draws if valid(it)])
        if not quick:
            return fresh(self._task, f"{self._task.seed}-{len(past)}-last", known, lambda it: 0.0 if valid(it) else 1.0)
        return _farthest(quick, [earlier.proposal for earlier in past[-_TOLD:]])

    def _candidates(self, taught: Sequence[Past], number: int, fits: Callable[[Proposal], bool]) -> list[Proposal]:
        """Random draws, and nets that have most values of one of the best trials; of both those that fit."""
        seed = f"{self._task.seed}-{number}"
        found: list[Proposal] = []
        for turn in range(_MOST_DRAWS):
            if turn >= _DRAWS and len(found) >= _FEW:
                break
            found += filter(fits, [drawn(self._task, Draws(f"{seed}-{turn}"))])
        sound = [it for it in taught if it.scores and it.value != 0.0]
        best = sorted(sound, key=lambda it: (len(it.scores), it.scores[-1]), reverse=True)
        for rank, earlier in enumerate(best[:_BEST]):
            alike = (Draws(f"{seed}-{rank}-{turn}", earlier.proposal.drawn) for turn in range(_LIKE_BEST))
            found += filter(fits, (drawn(self._task, it) for it in alike))
        return found

    def _order(self, taught: Sequence[Past], pending: Sequence[Past], candidates: Sequence[Proposal]) -> list[int]:
        """The candidates' places, the most promising first."""
        x = features([*(it.proposal for it in [*taught, *pending]), *candidates])
        old, new = np.split(x, [len(taught) + len(pending)])
        furthest = self._furthest(taught)
        seen = self._observations(taught, old)
        model = CurveModel(seen)
        numbers = np.arange(len(old))
        ends = self._ends([it.proposal for it in [*taught, *pending]], furthest)
        expected, _ = model.predict(old, *ends, numbers)
        best = expected[self._come_to(taught, furthest)].min()
        if pending:
            waiting = numbers[len(taught) :]
            doublings, places = ends[0][waiting], ends[1][waiting]
            believed = seen.with_believed(old[waiting], doublings, places, waiting, expected[waiting])
            model = CurveModel(believed, model.scales)
        mean, spread = model.predict(new, *self._ends(candidates, furthest), np.full(len(new), -1))
        time = np.array([arithmetic.image_s(it.arch, it.train) * it.train.epochs for it in candidates])
        worth = _log_improvement(best - mean, spread) - np.log(time)
        return [int(place) for place in np.argsort(-worth, kind="stable")]

    def worth(self, past: Sequence[Past], places: Sequence[int]) -> list[float]:
        """See ``Judge``: as for a candidate, by the time that is left; at the start by what they are compared by."""
        taught = [place for place, it in enumerate(past) if _teaches(it)]
        if len(places) == 1 or len(taught) < self._task.config.study.startup_trials:
            return [past[place].scores[-1] for place in places]
        in_order = sorted(places)
        weighed = [in_order[it] for it in telling([past[place] for place in in_order], _TOLD)]
        told = sorted({taught[it] for it in telling([past[place] for place in taught], _TOLD)} | set(weighed))
        nets = [past[place] for place in told]
        row = {place: number for number, place in enumerate(told)}
        asked = np.array([row[place] for place in weighed])
        with threadpool_limits(1):
            x = features([it.proposal for it in nets])
            model = CurveModel(self._observations(nets, x))
            furthest = self._furthest(nets)
            ends = self._ends([it.proposal for it in nets], furthest)
            mean, spread = model.predict(x, *ends, np.arange(len(nets)))
            time = np.array([self._time_left(past[place]) for place in weighed])
            best = mean[self._come_to(nets, furthest)].min()
            gain = _log_improvement(best - mean[asked], spread[asked])
            found = dict(zip(weighed, gain - np.log(time), strict=True))
        return [float(found.get(place, -math.inf)) for place in places]

    def _furthest(self, taught: Sequence[Past]) -> int:
        """The place of the furthest point that a trial has come to, where trials are compared that go so far.

        Of a point that none has come to nobody knows how far errors fall on the way there. That is the same for all
        trials, but would count as each one's own chance to improve, and drown what they have shown.
        """
        points = max(len(self._points(it.proposal)) for it in taught)
        come = max((len(it.scores) for it in taught if it.value != 0.0), default=points)
        return min(come, points) - 1

    def _come_to(self, nets: Sequence[Past], furthest: int) -> list[int]:
        """Places of those nets that have come to the furthest point, or to their own end before it.

        The lowest of many expectations is low by chance, so the one to improve on is of nets that have been there.
        """
        ends = self._ends([it.proposal for it in nets], furthest)[1]
        come = [place for place, it in enumerate(nets) if it.value != 0.0 and len(it.scores) > ends[place]]
        return come or list(range(len(nets)))

    def _ends(self, nets: Sequence[Proposal], furthest: int) -> tuple[Floats, Whole]:
        """Where each net is compared: the furthest point, or its own end before that.

        Returns:
            Doublings and places, shape (n,) each.
        """
        points = [self._points(it)[: furthest + 1] for it in nets]
        return np.log2([it[-1] for it in points]), np.array([len(it) - 1 for it in points])

    def _time_left(self, earlier: Past) -> float:
        """Of a trial that waits at a rung, in epochs of its net, times what one image takes."""
        points, net = self._points(earlier.proposal), earlier.proposal
        return (points[-1] - points[len(earlier.scores) - 1]) * arithmetic.image_s(net.arch, net.train)

    def _points(self, proposal: Proposal) -> tuple[float, ...]:
        return pruning.report_points(proposal.train.epochs, self._task.config.fidelity.rungs)

    def _observations(self, taught: Sequence[Past], x: Floats) -> Observations:
        """The trials' curves, in logarithms of the error: over the last steps at rungs and ends, else of one step."""
        rungs, furthest = self._task.config.fidelity.rungs, self._furthest(taught)
        found: list[tuple[int, int, float, bool, float]] = []
        for net, earlier in enumerate(taught):
            points = self._points(earlier.proposal)
            if earlier.value == 0.0:  # diverged: as bad as can be, where others have come to
                place = min(len(points) - 1, furthest)
                found.append((net, place, points[place], True, 0.0))
                continue
            for place in _telling_points(min(len(points), len(earlier.scores))):
                point, score = points[place], earlier.scores[place]
                of_one = point not in rungs and point < points[-1]
                found.append((net, place, point, of_one, _log_error(score)))
        nets, places, epochs, single, y = (np.array(column) for column in zip(*found, strict=True))
        return Observations(x[nets], np.log2(epochs), places, nets, single, np.zeros(len(y), np.bool_), y)


def _telling_points(come: int) -> list[int]:
    """Places of the reports that the model is told of: all of a few, else as many, the last one among them."""
    return sorted({round(place) for place in np.linspace(0, come - 1, min(come, _POINTS))})


def _log_error(score: float) -> float:
    return math.log(max(1.0 - score, _LEAST_ERROR))


def _quicker_half(draws: Sequence[Proposal]) -> list[Proposal]:
    """One more where their number is odd; a slow net teaches no more than a quick one."""
    order = sorted(
        range(len(draws)), key=lambda place: (arithmetic.image_s(draws[place].arch, draws[place].train), place)
    )
    return [draws[place] for place in sorted(order[: (len(draws) + 1) // 2])]


def _farthest(draws: Sequence[Proposal], earlier: Sequence[Proposal]) -> Proposal | None:
    """The draw whose nearest earlier proposal is the farthest away (Johnson, Moore and Ylvisaker, Minimax and Maximin
    Distance Designs, 1990): by chance, ten draws leave much of a space without any."""
    if not draws or not earlier:
        return next(iter(draws), None)
    old, new = np.split(features([*earlier, *draws]), [len(earlier)])
    nearest = ((new[:, None, :] - old[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    return draws[int(nearest.argmax())]


def _teaches(earlier: Past) -> bool:
    return earlier.value == 0.0 or (bool(earlier.scores) and earlier.standing in ("running", "stopped", "complete"))


def _log_improvement(lead: Floats, spread: Floats) -> Floats:
    """Logarithm of the expected improvement of normal variables that lead by ``lead`` on average; shape (n,)."""
    z = lead / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    found: Floats = np.log(np.maximum(spread * (z * special.ndtr(z) + density), 1e-300))
    return found


def _fitting(past: Sequence[Past]) -> Callable[[Proposal], bool]:
    """Whether a net takes less memory than each that was too much for the machine.

    One that a larger net was trained beside says nothing of nets: something else took the memory.
    """
    trained = max((_bytes(it.proposal) for it in past if it.scores and it.standing != "infeasible"), default=0)
    failed = (_bytes(it.proposal) for it in past if it.standing == "infeasible")
    least = min((size for size in failed if size > trained), default=math.inf)
    return lambda proposal: _bytes(proposal) < least


def _bytes(proposal: Proposal) -> int:
    return arithmetic.cost(proposal.arch).training_bytes(proposal.train)
