"""One contract for every proposer: valid, distinct, and the same after an interruption as without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fmnist_sweep import config
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers import Past, Proposal, Proposer, Task, make
from fmnist_sweep.proposers.base import Standing
from fmnist_sweep.proposers.curves import CurveProposer
from fmnist_sweep.schema import Sampler
from tests.stand_ins import CLASSES, SHAPE, proposals, reports_of, task

SIZE = 12
ENDINGS: tuple[Standing, ...] = ("complete", "stopped", "complete", "failed", "complete")


class Sweeping:
    """A driver with two workers, in little: it asks, and trials end in an order that is fixed by their numbers.

    Odd trials end before the next is asked for; even ones are still running while the next two are.
    """

    def __init__(self, proposer: Proposer, past: Sequence[Past] = ()) -> None:
        self.proposer = proposer
        self.past = list(past)

    def go_on(self, to: int) -> list[dict[str, Any]]:
        """Goes on until ``to`` trials have been asked for; the values drawn for each."""
        while len(self.past) < to:
            number = len(self.past)
            proposal = self.proposer.ask(self.past, lambda _: 0.0)
            assert isinstance(proposal, Proposal)
            self.past.append(Past(proposal, "running", self.scores(proposal)[:1], None))
            ending = number if number % 2 else number - 2
            if ending >= 0:
                self.past[ending] = self.ended(ending)
        return [earlier.proposal.drawn for earlier in self.past]

    def scores(self, proposal: Proposal) -> tuple[float, ...]:
        curve = reports_of(proposal.arch, proposal.train, (0.5, 1.0, 2.0, 3.0))
        return tuple(report.val_accuracy for report in curve)

    def ended(self, number: int) -> Past:
        proposal, standing = self.past[number].proposal, ENDINGS[number % len(ENDINGS)]
        scores = self.scores(proposal)[: 2 if standing == "stopped" else 4]
        return Past(proposal, standing, scores, max(scores) if standing == "complete" else None)

    def interrupted(self, fresh: Proposer) -> Sweeping:
        """The same sweep under another proposer, the past as a driver reads it from the ledger."""
        return Sweeping(fresh, [replace(earlier, proposal=reread(earlier.proposal)) for earlier in self.past])


def test_of_very_many_trials_tpe_has_begun_whatever_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of fewer than it would wait for."""
    from fmnist_sweep.proposers import optuna as samplers

    monkeypatch.setattr(samplers, "_TOLD", 5)
    sweep = task("tpe")
    study = sweep.config.study.model_copy(update={"startup_trials": 8})
    proposer = samplers.OptunaProposer(replace(sweep, config=sweep.config.model_copy(update={"study": study})), "tpe")
    done = [Past(it, "complete", (0.5,), 0.5) for it in proposals()[:12]]
    waits = [proposer._make("tpe", past, 0, 0)._n_startup_trials for past in (done[:4], done[:7], done)]  # type: ignore[attr-defined]
    assert waits == [8, 8, 0]


def reread(proposal: Proposal) -> Proposal:
    return replace(proposal, drawn=json.loads(json.dumps(proposal.drawn)))


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "grid"])
class TestProposer:
    def test_proposals_are_of_the_space_and_distinct(self, sampler: Sampler) -> None:
        sweeping = Sweeping(make(task(sampler)))
        sweeping.go_on(SIZE)
        found = {earlier.proposal.fingerprint for earlier in sweeping.past}
        assert found == {proposal.fingerprint for proposal in proposals()}
        assert len(found) == SIZE

    def test_an_exhausted_space_is_said(self, sampler: Sampler) -> None:
        sweeping = Sweeping(make(task(sampler)))
        sweeping.go_on(SIZE)
        assert sweeping.proposer.ask(sweeping.past, lambda _: 0.0) is None
        assert make(task(sampler)).ask([], lambda _: 1.0) is None

    def test_what_is_over_the_limits_is_not_proposed(self, sampler: Sampler) -> None:
        proposer, past = make(task(sampler)), list[Past]()
        for _ in range(3):
            proposal = proposer.ask(past, lambda it: abs(len(it.arch.blocks) - 2))
            assert isinstance(proposal, Proposal)
            assert len(proposal.arch.blocks) == 2
            past.append(Past(proposal, "running", (), None))

    @pytest.mark.parametrize("trials", [1, 4, 7, 8, 11])
    def test_resuming_is_like_never_having_stopped(self, sampler: Sampler, trials: int) -> None:
        without = Sweeping(make(task(sampler))).go_on(SIZE)
        before = Sweeping(make(task(sampler)))
        before.go_on(trials)
        assert before.interrupted(make(task(sampler))).go_on(SIZE) == without

    def test_asking_again_gives_the_same(self, sampler: Sampler) -> None:
        sweeping = Sweeping(make(task(sampler)))
        sweeping.go_on(5)
        assert sweeping.proposer.ask(sweeping.past, lambda _: 0.0) == sweeping.proposer.ask(
            sweeping.past, lambda _: 0.0
        )

    def test_another_past_is_not_mixed_up_with_the_first(self, sampler: Sampler) -> None:
        scores = [0.1 * place for place in range(8)]
        one, other = (
            [Past(it, "complete", (score,), score) for it, score in zip(proposals()[:8], told, strict=True)]
            for told in (scores, scores[::-1])
        )
        for seed in range(10):
            proposer = make(task(sampler, seed))
            proposer.ask(one, lambda _: 0.0)
            assert proposer.ask(other, lambda _: 0.0) == make(task(sampler, seed)).ask(other, lambda _: 0.0)

    def test_the_seed_decides(self, sampler: Sampler) -> None:
        one, same, other = (Sweeping(make(task(sampler, seed))).go_on(SIZE) for seed in (1, 1, 2))
        assert one == same
        assert (one != other) == (sampler != "grid")

    def test_values_drawn_survive_json(self, sampler: Sampler) -> None:
        for drawn in Sweeping(make(task(sampler))).go_on(SIZE):
            again = json.loads(json.dumps(drawn))
            assert again == drawn
            assert [type(value) for value in again.values()] == [type(value) for value in drawn.values()]


def wide(sampler: Sampler) -> Task:
    """A sweep with every sort of range and choice."""
    text = f"""
        title = "wide"
        study = {{ sampler = "{sampler}", startup_trials = 3 }}
        [space]
        depth = {{ low = 1, high = 3 }}
        filters = {{ low = 8, high = 64, step = 8, per = "block" }}
        pooling = {{ choices = ["max", "average"], per = "block" }}
        learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
        label_smoothing = {{ low = 0.0, high = 0.2 }}
        flip = {{ choices = [true, false] }}
        batch_size = {{ choices = [32, 64] }}
        [cases.plain]
        [cases.normal]
        batch_norm = "before_activation"
    """
    return Task(config.parse(text, "wide"), SHAPE, CLASSES, 0)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_resuming_a_wide_sweep(sampler: Sampler) -> None:
    without = Sweeping(make(wide(sampler))).go_on(15)
    before = Sweeping(make(wide(sampler)))
    before.go_on(9)
    assert before.interrupted(make(wide(sampler))).go_on(15) == without


@pytest.mark.parametrize(("sampler", "learns"), [("tpe", True), ("gp", True), ("random", False)])
def test_a_model_learns_and_random_draws_do_not(sampler: Sampler, learns: bool) -> None:
    """The same seed, another past: a sampler with a model goes another way, random draws don't."""

    class Other(Sweeping):
        def scores(self, proposal: Proposal) -> tuple[float, ...]:
            return tuple(1 - score for score in super().scores(proposal))

    assert (Sweeping(make(wide(sampler))).go_on(15) != Other(make(wide(sampler))).go_on(15)) == learns


def test_a_grid_needs_a_finite_space() -> None:
    with pytest.raises(UsageError, match="learning_rate is a range without a step") as caught:
        make(wide("grid"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_what_few_draws_come_to_is_found(sampler: Sampler) -> None:
    """One net in twenty is within the limits."""

    def excess(proposal: Proposal) -> float:
        return float(int(proposal.fingerprint[:8], 16) % 20 != 0)

    for seed in range(40):
        assert isinstance(make(replace(wide(sampler), seed=seed)).ask([], excess), Proposal)


@pytest.mark.parametrize(("share", "least"), [(1, 400), (20, 200), (500, 1)])
def test_under_tight_limits_a_model_still_has_many_to_choose_from(
    monkeypatch: pytest.MonkeyPatch, share: int, least: int
) -> None:
    """One net in ``share`` is within the limits."""
    sweeping = Sweeping(make(wide("gp")))
    sweeping.go_on(10)
    among: list[Proposal] = []
    order = CurveProposer._order

    def noting(self: CurveProposer, taught: Any, pending: Any, candidates: Sequence[Proposal]) -> list[int]:
        among.extend(candidates)
        return order(self, taught, pending, candidates)

    monkeypatch.setattr(CurveProposer, "_order", noting)

    def excess(proposal: Proposal) -> float:
        return float(int(proposal.fingerprint[:8], 16) % share != 0)

    found = sweeping.proposer.ask(sweeping.past, excess)
    assert len(among) >= least
    assert all(excess(it) <= 0 for it in among)
    assert found in among


def test_a_model_learns_where_nets_do_not_fit_the_machine() -> None:
    """Nets with three blocks began well and ran out of memory: the sampler draws fewer of them than random draws do."""
    drawn = [make(wide("random")).ask([], lambda _: 0.0)]
    while len(drawn) < 30:
        drawn.append(make(wide("random")).ask([Past(it, "running", (), None) for it in drawn], lambda _: 0.0))  # type: ignore[arg-type]
    past = [
        Past(it, "infeasible", (0.9,), None) if len(it.arch.blocks) == 3 else Past(it, "stopped", (0.5,), None)
        for it in drawn
        if isinstance(it, Proposal)
    ]

    def deep(sampler: Sampler) -> int:
        """Of 30 draws over those trials, how many have three blocks."""
        tasks = [replace(wide(sampler), seed=seed) for seed in range(30)]
        found = [make(each).ask(past, lambda _: 0.0) for each in tasks]
        return sum(1 for it in found if isinstance(it, Proposal) and len(it.arch.blocks) == 3)

    assert deep("tpe") < deep("random") / 2
    assert deep("gp") < deep("random") / 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_stepped_values_are_the_spaces_own(sampler: Sampler) -> None:
    """To Optuna three steps of 0.1 are 0.30000000000000004, which would be another net than the 0.3 of a last draw."""
    text = f"""
        title = "steps"
        [study]
        sampler = "{sampler}"
        startup_trials = 2
        [space]
        dropout = {{ low = 0.0, high = 0.5, step = 0.1 }}
    """
    wanted = Task(config.parse(text, "steps"), SHAPE, CLASSES, 0)
    proposer, past = make(wanted), list[Past]()
    while isinstance(found := proposer.ask(past, lambda _: 0.0), Proposal):
        past.append(Past(found, "complete", (0.5, 0.6), 0.6))
    assert sorted(earlier.proposal.arch.blocks[0].dropout for earlier in past) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert all(earlier.proposal.drawn["dropout"] == earlier.proposal.arch.blocks[0].dropout for earlier in past)
