"""The fold: what a study stands at depends on the ledger's events and on nothing else."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import ENDED, StudyState
from fmnist_sweep.trial import Report, TrialResult
from tests.report_stand_ins import Story
from tests.stand_ins import asked, proposals, reports_of
from tests.strategies import CALM

ATTEMPTS = ("started", "report", "died", "paused", "held")
KINDS = ("asked", *ATTEMPTS, "ended", "kept", "dropped", "run", "model", "view", "session")
PROPOSALS = proposals()

Happened = tuple[str, int, int, float]  # kind, trial, place, accuracy
happenings = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.1, 0.5, 0.5000001, 0.9])
    ),
    max_size=40,
).map(lambda found: [("asked", number, 0, 0.0) for number in range(2)] + found)


def body_of(kind: str, number: int, place: int, accuracy: float) -> dict[str, Any]:
    if kind == "asked":
        return asked(number, PROPOSALS[number])
    if kind == "report":
        return Report(place, place + 1.0, 1.0, accuracy, 1.0, accuracy, 1.0, 40).body
    if kind == "ended":
        state = ("complete", "pruned", "failed", "complete")[place]
        result = None if state == "failed" else asdict(TrialResult(1.0, 1.0, accuracy, 1.0, 40))
        return {"state": state, "reason": "because", "result": result}
    bodies: dict[str, dict[str, Any]] = {
        "run": {"run_id": "r"},
        "model": {"model_uri": "m"},
        "view": {f"fact {place}": number},
    }
    return bodies.get(kind, {})


def tell(ledger: Ledger, happened: list[Happened]) -> None:
    """Records what a driver and its views might have, in any order that starts with the asking."""
    known = {event.job for event in ledger.events() if event.kind == "asked"}
    for kind, number, place, accuracy in happened:
        key = f"trial-{number:04d}"
        if kind in ("view", "session"):
            ledger.append(kind, "", place, **body_of(kind, number, place, accuracy))
        elif kind == "asked" or key in known:
            known.add(key)
            where = place if kind in ATTEMPTS else 0
            ledger.append(kind, key, where, **body_of(kind, number, place, accuracy))


@settings(CALM, max_examples=40)
@given(happenings, st.data())
def test_a_fold_in_parts_is_the_fold_at_once(happened: list[Happened], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(happened)))
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        live = StudyState()
        for part in (happened[:cut], happened[cut:], happened):  # the last is a driver that repeats itself
            tell(ledger, part)
            for event in ledger.events(after=live.seq):
                live.apply(event)
        ledger.close()
        again = Ledger(Path(folder) / "ledger.db")
        events = again.events()
        again.close()
    assert live == StudyState.of(events)
    assert len(events) == len({(event.kind, event.job, event.place) for event in events})
    check(live)


def check(state: StudyState) -> None:
    """What must hold of every state."""
    assert len(state.trials()) == len(state.unfinished()) + len(state.trials(*ENDED))
    for job in state.jobs.values():
        assert len(job.reports) == len({report.place for report in job.reports})
    ranked = state.ranked()
    assert {job.key for job in ranked} == {job.key for job in state.trials("complete")}
    for better, worse in pairwise(ranked):
        assert better.best is not None
        assert worse.best is not None
        assert (better.best, -better.number) > (worse.best, -worse.number)


def test_a_report_of_an_older_release_is_read_without_its_score_of_the_mean_of_weights() -> None:
    report = Report(1, 0.5, 0.4, 0.8, 0.5, 0.82, 3.0, 24_000)
    old = {**report.body, "smooth_accuracy": 0.87}
    del old["steady_accuracy"], old["score_s"]
    assert Report.of(1, old) == report
    assert Report.of(1, report.body) == report


class Past:
    """Events at given seconds, without a ledger."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, time: float, kind: str, job: str = "", place: int = 0, /, **body: Any) -> None:
        self.events.append(Event(len(self.events) + 1, time, kind, job, place, body))


def test_a_trial_from_asking_to_its_end() -> None:
    past = Past()
    first = PROPOSALS[0]
    curve = reports_of(first.arch, first.train, (0.5, 1.0, 2.0, 3.0))
    past.add(1.0, "study", name="mine")
    past.add(2.0, "asked", "trial-0000", **asked(0, first))
    job = StudyState.of(past.events).jobs["trial-0000"]
    assert (job.state, job.arch, job.train, job.drawn) == ("waiting", first.arch, first.train, first.drawn)
    assert (job.best, job.epoch, job.report_at) == (None, 0.0, (0.5, 1.0, 2.0, 3.0))
    past.add(3.0, "started", "trial-0000", 1)
    for report in curve[:2]:
        past.add(4.0, "report", "trial-0000", report.place, **report.body)
    past.add(5.0, "died", "trial-0000", 1, message="gone")
    past.add(6.0, "started", "trial-0000", 2)
    job = StudyState.of(past.events).jobs["trial-0000"]
    assert (job.state, job.attempts, job.started, job.reports) == ("running", 2, 3.0, tuple(curve[:2]))
    assert (job.best, job.epoch) == (curve[1].val_accuracy, 1.0)
    result = TrialResult.so_far(curve)
    past.add(7.0, "ended", "trial-0000", state="complete", reason="", result=asdict(result))
    past.add(8.0, "kept", "trial-0000")
    state = StudyState.of(past.events)
    job = state.jobs["trial-0000"]
    assert (job.state, job.result, job.ended, job.kept) == ("complete", result, 7.0, True)
    assert state.study == {"name": "mine"}
    assert state.unfinished() == []


def test_time_between_sessions_is_not_counted() -> None:
    past = Past()
    for start in (100.0, 1000.0, 50_000.0):
        past.add(start, "session", "", len(past.events))
        past.add(start + 3, "view", "", len(past.events))
        past.add(start + 7, "summary", "", len(past.events))
    assert StudyState.of(past.events).wall_s == 21.0


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    past = Past()
    for time in (100.0, 110.0, 50.0, 55.0):
        past.add(time, "view", "", len(past.events))
    assert StudyState.of(past.events).wall_s == 15.0


def test_what_a_kept_model_scores_is_the_best_epochs_but_in_the_finals_the_last_ones() -> None:
    story = Story().begin().search(3)
    job = story.state.ranked()[0]
    assert job.result is not None
    lucky = replace(job, result=replace(job.result, best_val_accuracy=0.99))
    assert lucky.kept_accuracy == 0.99
    assert replace(lucky, kind="final").kept_accuracy == job.reports[-1].val_accuracy
