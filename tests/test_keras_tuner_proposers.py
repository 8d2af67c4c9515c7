"""KerasTuner's oracles keep the contract of every proposer; Hyperband gives more epochs to better nets."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fmnist_sweep import config
from fmnist_sweep.errors import UsageError
from fmnist_sweep.proposers import Past, Proposal, Task
from fmnist_sweep.proposers.base import Excess
from tests.stand_ins import CLASSES, SHAPE, proposals, task
from tests.test_proposers import SIZE, Sweeping, wide

pytestmark = pytest.mark.slow  # importing KerasTuner loads TensorFlow

ENGINES = ("random", "bayesian", "hyperband")
ONE_NET_EACH = ("random", "bayesian")  # Hyperband proposes a net again, with more epochs


def make(engine: str, wanted: Task) -> Any:
    from fmnist_sweep.proposers.keras_tuner import PROPOSERS

    return PROPOSERS[f"keras-tuner-{engine}"](wanted)


def answer(engine: str, wanted: Task, past: Sequence[Past], excess: Excess = lambda _: 0.0) -> Any:
    return make(engine, wanted).ask(past, excess)


def length(engine: str) -> int:
    """How many proposals the small sweep surely has."""
    return SIZE if engine in ONE_NET_EACH else 9


@functools.cache
def uninterrupted(engine: str) -> Sweeping:
    sweeping = Sweeping(make(engine, task()))
    sweeping.go_on(length(engine))
    return sweeping


def everything(engine: str, wanted: Task) -> list[Past]:
    """A sweep that ends where its space does."""
    proposer, past = make(engine, wanted), list[Past]()
    while (proposal := proposer.ask(past, lambda _: 0.0)) is not None:
        past.append(ended(proposal, 0.5))
    return past


def waits() -> Any:
    from fmnist_sweep.proposers import Wait

    return Wait.WAIT


def ended(proposal: Proposal, value: float) -> Past:
    return Past(proposal, "complete", (value,), value)


def worth(proposal: Proposal) -> float:
    """A wide net is a good one."""
    return proposal.arch.blocks[0].filters / 100


def halving(epochs: int = 9, seed: int = 0) -> Task:
    text = f"""
        title = "for Hyperband"
        fidelity = {{ pruner = "none", reduction = 3 }}
        [space]
        filters = {{ low = 8, high = 99 }}
        epochs = {epochs}
    """
    return Task(config.parse(text, "halving"), SHAPE, CLASSES, seed)


def halved(wanted: Task, trials: int) -> list[Past]:
    """A sweep by Hyperband with one worker."""
    proposer, past = make("hyperband", wanted), list[Past]()
    for _ in range(trials):
        proposal = proposer.ask(past, lambda _: 0.0)
        past.append(ended(proposal, worth(proposal)))
    return past


@pytest.mark.parametrize("engine", ENGINES)
class TestKerasTuner:
    def test_proposals_are_of_the_space_and_distinct(self, engine: str) -> None:
        made = [earlier.proposal for earlier in uninterrupted(engine).past]
        assert len({proposal.fingerprint for proposal in made}) == len(made)
        assert {proposal.arch for proposal in made} <= {known.arch for known in proposals()}
        assert {proposal.train.epochs for proposal in made} == ({3} if engine in ONE_NET_EACH else {1, 3})

    def test_an_exhausted_space_is_said(self, engine: str) -> None:
        past = everything(engine, task())
        assert {earlier.proposal.arch for earlier in past} == {known.arch for known in proposals()}
        assert answer(engine, task(), [], lambda _: 1.0) is None

    def test_what_is_over_the_limits_is_not_proposed(self, engine: str) -> None:
        past = list[Past]()
        for _ in range(4):
            proposal = answer(engine, task(), past, lambda it: abs(len(it.arch.blocks) - 2))
            assert len(proposal.arch.blocks) == 2
            past.append(ended(proposal, 0.5))

    @pytest.mark.parametrize("trials", [1, 4, 7])
    def test_resuming_is_like_never_having_stopped(self, engine: str, trials: int) -> None:
        before = Sweeping(make(engine, task()))
        before.go_on(trials)
        after = before.interrupted(make(engine, task()))
        after.go_on(length(engine))
        assert after.past == uninterrupted(engine).past

    def test_resuming_a_wide_sweep(self, engine: str) -> None:
        wanted = wide("random")
        whole, before = Sweeping(make(engine, wanted)), Sweeping(make(engine, wanted))
        whole.go_on(8)
        before.go_on(6)
        after = before.interrupted(make(engine, wanted))
        after.go_on(8)
        assert after.past == whole.past

    def test_asking_again_gives_the_same(self, engine: str) -> None:
        sweeping = Sweeping(make(engine, task()))
        sweeping.go_on(6)
        asked = [proposer.ask(sweeping.past, lambda _: 0.0) for proposer in [sweeping.proposer] * 2]
        assert asked[0] == asked[1]

    def test_another_past_is_not_mixed_up_with_the_first(self, engine: str) -> None:
        scores = [0.1 * place for place in range(8)]
        one, other = (
            [ended(it, score) for it, score in zip(proposals()[:8], told, strict=True)]
            for told in (scores, scores[::-1])
        )
        proposer = make(engine, task())
        proposer.ask(one, lambda _: 0.0)
        assert proposer.ask(other, lambda _: 0.0) == answer(engine, task(), other)

    def test_the_seed_decides(self, engine: str) -> None:
        one, same, other = (Sweeping(make(engine, task(seed=seed))).go_on(6) for seed in (1, 1, 2))
        assert one == same
        assert one != other

    def test_values_drawn_survive_json_and_are_what_was_built(self, engine: str) -> None:
        sweeping = Sweeping(make(engine, wide("random")))
        for drawn in sweeping.go_on(7):
            again = json.loads(json.dumps(drawn))
            assert again == drawn
            assert [type(value) for value in again.values()] == [type(value) for value in drawn.values()]
        for earlier in sweeping.past:
            proposal = earlier.proposal
            assert proposal.train.flip is proposal.drawn["flip"]
            assert proposal.train.learning_rate == proposal.drawn["learning_rate"]
            assert len(proposal.arch.blocks) == proposal.drawn["depth"]
            assert ("filters_3" in proposal.drawn) == (len(proposal.arch.blocks) == 3)


@pytest.mark.parametrize("engine", ONE_NET_EACH)
def test_a_finite_space_is_proposed_as_a_whole(engine: str) -> None:
    found = {earlier.proposal.fingerprint for earlier in uninterrupted(engine).past}
    assert found == {proposal.fingerprint for proposal in proposals()}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_member_of_a_range_is_drawn(engine: str) -> None:
    """KerasTuner's own steps would leave out 0.3, and its own choices would make whole numbers of bools."""
    text = """
        title = "ranges"
        [space]
        dropout = { low = 0.0, high = 0.3, step = 0.1 }
        filters = { low = 8, high = 9, log = true }
        flip = { choices = [true, false] }
        epochs = 2
    """
    past = everything(engine, Task(config.parse(text, "ranges"), SHAPE, CLASSES, 0))
    drawn = [earlier.proposal.drawn for earlier in past]
    assert len(drawn) == 16
    assert {repr(values["flip"]) for values in drawn} == {"True", "False"}
    assert {values["filters"] for values in drawn} == {8, 9}
    assert len({values["dropout"] for values in drawn}) == 4


def test_what_only_the_top_of_a_log_range_has_is_drawn_too() -> None:
    text = """
        title = "two deep, now and then"
        [space]
        depth = { low = 1, high = 2, log = true }
        filters = { choices = [8, 16, 32, 64], per = "block" }
        epochs = 1
    """
    past = everything("random", Task(config.parse(text, "log"), SHAPE, CLASSES, 0))
    assert {earlier.proposal.arch.blocks[1].filters for earlier in past if len(earlier.proposal.arch.blocks) == 2} == {
        8,
        16,
        32,
        64,
    }


def test_a_range_of_a_milliard_is_not_written_out() -> None:
    text = 'title = "seeds"\n[space]\nseed = { low = 0, high = 1000000000 }\nepochs = 1'
    wanted = Task(config.parse(text, "seeds"), SHAPE, CLASSES, 0)
    first = answer("random", wanted, [])
    assert answer("random", wanted, [ended(first, 0.5)]).train.seed != first.train.seed


@pytest.mark.parametrize(("engine", "learns"), [("bayesian", True), ("random", False)])
def test_a_model_learns_and_random_draws_do_not(engine: str, learns: bool) -> None:
    wanted = wide("random")
    made = Sweeping(make(engine, wanted))
    made.go_on(8)
    good, bad = ([ended(earlier.proposal, sign * worth(earlier.proposal)) for earlier in made.past] for sign in (1, -1))
    assert (answer(engine, wanted, good) != answer(engine, wanted, bad)) == learns


def test_a_process_is_told_of_so_many_at_most_and_of_all_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time grows with their cube, and the driver waits for it."""
    from fmnist_sweep.proposers import keras_tuner

    wanted, told = wide("random"), list[int]()
    made, populate = Sweeping(make("random", wanted)), keras_tuner.BayesianProposer._populate
    made.go_on(30)
    past = [ended(earlier.proposal, worth(earlier.proposal)) for earlier in made.past]
    past[3] = replace(past[3], standing="running", value=None, scores=())

    def noting(self: Any, oracle: Any, trial_id: str) -> Any:
        told.append(len(oracle.trials))
        return populate(self, oracle, trial_id)

    monkeypatch.setattr(keras_tuner, "_TOLD", 12)
    monkeypatch.setattr(keras_tuner.BayesianProposer, "_populate", noting)
    assert answer("bayesian", wanted, past).fingerprint not in {earlier.proposal.fingerprint for earlier in past}
    assert told == [13]


def test_a_process_goes_where_it_is_good() -> None:
    past = [ended(it, worth(it)) for it in (answer("random", halving(seed=seed), []) for seed in range(12))]
    assert worth(answer("bayesian", halving(), past)) > 0.85


class TestHyperband:
    def test_better_nets_get_more_epochs(self) -> None:
        """A first bracket for 9 epochs, by three: nine nets, the best three of them, the best of these."""
        past = halved(halving(), 13)
        rounds = {
            epochs: sorted(worth(earlier.proposal) for earlier in past if earlier.proposal.train.epochs == epochs)
            for epochs in (1, 3, 9)
        }
        assert [len(found) for found in rounds.values()] == [9, 3, 1]
        assert rounds[3] == rounds[1][-3:]
        assert rounds[9] == rounds[3][-1:]

    def test_brackets_follow_one_another_without_end(self) -> None:
        """23 trials are one iteration: 9 + 3 + 1, 5 + 2, and 3; then it begins anew."""
        counts = Counter(earlier.proposal.train.epochs for earlier in halved(halving(), 46))
        assert counts == Counter({1: 18, 3: 2 * (3 + 5), 9: 2 * (1 + 2 + 3)})

    def test_a_net_that_goes_on_is_the_same_net(self) -> None:
        past = halved(halving(), 13)
        first = {earlier.proposal.arch for earlier in past if earlier.proposal.train.epochs == 1}
        assert {earlier.proposal.arch for earlier in past} == first

    def test_it_waits_where_a_running_trial_decides(self) -> None:
        """All nets of the space are tried; which goes on is not known before the last has ended."""
        wanted = task()
        past = halved(wanted, 2)
        third = answer("hyperband", wanted, past)

        def none_but(proposal: Proposal) -> float:
            return float(proposal.arch not in {earlier.proposal.arch for earlier in past} | {third.arch})

        running = [*past, Past(third, "running", (), None)]
        assert answer("hyperband", wanted, running, none_but) is waits()
        after = answer("hyperband", wanted, [*past, ended(third, 1.0)], none_but)
        assert (after.arch, after.train.epochs) == (third.arch, 3)

    def test_a_bracket_that_the_space_can_not_fill_is_as_large_as_it_has_come(self) -> None:
        """Seven nets of nine: the best three go on, the best of these is trained in full, and then it ends."""
        past = halved(halving(), 7)
        nets = {earlier.proposal.arch for earlier in past}

        def none_but(proposal: Proposal) -> float:
            return float(proposal.arch not in nets)

        for _ in range(4):
            found = answer("hyperband", halving(), past, none_but)
            past.append(ended(found, worth(found)))
        assert [earlier.proposal.train.epochs for earlier in past[7:]] == [3, 3, 3, 9]
        best = sorted(worth(earlier.proposal) for earlier in past[:7])
        assert sorted(worth(earlier.proposal) for earlier in past[7:10]) == best[-3:]
        assert worth(past[10].proposal) == best[-1]
        assert make("hyperband", halving()).ask(past, none_but) is None

    def test_a_bracket_of_nothing_but_a_failure_is_the_end(self) -> None:
        past = halved(halving(), 13)
        last = answer("hyperband", halving(), past)
        past.append(Past(last, "failed", (), None))
        assert answer("hyperband", halving(), past, lambda _: 1.0) is None

    def test_failed_trials_do_not_go_on(self) -> None:
        past = halved(halving(), 9)
        best = max(range(9), key=lambda number: worth(past[number].proposal))
        past[best] = Past(past[best].proposal, "failed", (), None)
        proposal = answer("hyperband", halving(), past)
        assert proposal.train.epochs == 3
        assert proposal.arch != past[best].proposal.arch

    def test_a_bracket_with_a_failure_goes_on_to_its_end(self) -> None:
        past = halved(halving(), 9)
        worst = min(range(9), key=lambda number: worth(past[number].proposal))
        past[worst] = Past(past[worst].proposal, "failed", (), None)
        for _ in range(4):
            past.append(ended((found := answer("hyperband", halving(), past)), worth(found)))
        assert [earlier.proposal.train.epochs for earlier in past[9:]] == [3, 3, 3, 9]

    def test_searched_epochs_are_refused(self) -> None:
        text = 'title = "t"\n[space]\nepochs = { choices = [2, 3] }'
        with pytest.raises(UsageError, match="valid: one number for epochs"):
            make("hyperband", Task(config.parse(text, "t"), SHAPE, CLASSES, 0))


def test_no_tensorflow_operation_runs() -> None:
    """No context, and so no memory of a GPU, in the process that proposes."""
    code = """if True:
        from fmnist_sweep.proposers import Past, keras_tuner
        from tests.stand_ins import proposals, task
        past = [Past(it, "complete", (0.5,), 0.5) for it in proposals()[:5]]
        for proposer in keras_tuner.PROPOSERS.values():
            print(proposer(task()).ask(past, lambda _: 0.0) is None)
        from tensorflow.python.eager import context
        print(context._context)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3 + ["None"]
