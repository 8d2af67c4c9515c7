"""What a report says is so: history, front, importances, shrinkage, confusion, duplicates, cost."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_sweep.finals import listed
from fmnist_sweep.report import final_charts, says, search_charts
from fmnist_sweep.report.facts import Facts, gather
from fmnist_sweep.report.images import Confusion, Duplicates, Mistakes, Mixed
from fmnist_sweep.report.importance import FEWEST, Importances, importances
from fmnist_sweep.report.look import DARK, label
from fmnist_sweep.report.page import short
from fmnist_sweep.report.parts import Missing, counted
from fmnist_sweep.report.search import Attempt, floor, front, rising
from fmnist_sweep.report.text import plain
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState
from tests.report_stand_ins import IMAGES, Story, proposals
from tests.strategies import CALM

SCORES = st.floats(0.0, 1.0)
NET = Attempt("trial-0", 0, "1x conv 8", True, 0.9, 5.0, 1.0, 1_000, 1, 8.0, "none", 0.0, 0)


@pytest.fixture(scope="module")
def told() -> tuple[StudyState, Findings]:
    story = Story().begin().lab().search(6)
    findings = story.compare(2, 3)
    return story.state, findings


@pytest.fixture(scope="module")
def facts(told: tuple[StudyState, Findings]) -> Facts:
    return gather(*told)


@CALM
@given(st.lists(st.tuples(st.floats(0, 100), SCORES)))
def test_the_best_so_far_only_rises_and_ends_at_the_best(points: list[tuple[float, float]]) -> None:
    line = rising(points)
    assert all(before[1] < after[1] for before, after in pairwise(line))
    assert max((y for _, y in points), default=None) == (line[-1][1] if line else None)


@CALM
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9))))
def test_nothing_is_smaller_and_better_than_what_is_on_the_front(found: list[tuple[int, int]]) -> None:
    nets = [replace(NET, number=n, parameters=size, score=score / 10) for n, (size, score) in enumerate(found)]

    def beaten(net: Attempt) -> bool:
        others = [it for it in nets if (it.parameters, it.score) != (net.parameters, net.score)]
        return any(it.parameters <= net.parameters and it.score >= net.score for it in others)

    kept = {(it.parameters, it.score) for it in front(nets)}
    assert kept == {(it.parameters, it.score) for it in nets if not beaten(it)}


@CALM
@given(st.lists(SCORES, min_size=1))
def test_an_axis_of_scores_begins_below_the_better_half(scores: list[float]) -> None:
    low = floor(scores)
    assert 0 <= low <= max(scores)
    assert sum(low <= score for score in scores) * 2 >= len(scores)


def test_one_bad_net_does_not_flatten_the_axis() -> None:
    assert floor([0.62, 0.915, 0.917, 0.919, 0.92]) > 0.9


def test_importances_find_what_matters_from_the_first_rung_alone() -> None:
    story = Story().begin().search(40)
    found = importances(story.state)
    assert isinstance(found, Importances)
    assert (found.epoch, found.trials) == (0.5, 40)
    assert {it.name for it in found.shares[:2]} == {"depth", "head"}
    assert sum(it.share for it in found.shares) == pytest.approx(1)
    assert all(it.low <= it.share <= it.high for it in found.shares)
    assert found.left_out == ("dense_dropout", "filters_2", "filters_3", "filters_4")
    cut = [event for event in story.events if event.kind != "report" or event.place == 0]
    assert importances(StudyState.of(cut)) == found


def test_few_trials_have_no_importances() -> None:
    found = importances(Story().begin().search(FEWEST - 1).state)
    assert found == Missing("With 19 trials this would be guesswork; from 20 on it is worked out.")


def test_trials_that_all_score_the_same_have_no_importances() -> None:
    story = Story().begin().search(FEWEST)
    same = [
        replace(event, body={**event.body, "val_accuracy": 0.5}) if event.kind == "report" else event
        for event in story.events
    ]
    assert isinstance(importances(StudyState.of(same)), Missing)


def test_the_table_has_each_nets_accuracy_inside_its_interval(facts: Facts) -> None:
    assert [row.lab for row in facts.rows] == [False] * 2 + [True] * 4
    for row in facts.rows:
        assert row.accuracy is not None
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.accuracy < row.high
        assert row.train_s > 0
    assert facts.twins == ("lab-cnn3-bn-as-written is lab-cnn3, the same net",)


def test_shrinkage_compares_the_best_epoch_with_the_best_epoch(told: tuple[StudyState, Findings], facts: Facts) -> None:
    state, findings = told
    for it, standing in zip(facts.shrinkages, findings.standings, strict=True):
        finals = [state.jobs[f"final-{it.name}-seed{seed}"] for seed in findings.seeds]
        assert it.searched == standing.contender.searched
        assert it.retrained == pytest.approx(np.mean([job.best for job in finals]))
        assert it.last == standing.val_accuracy <= it.retrained


def test_a_class_without_test_images_is_not_the_hardest() -> None:
    shares = ((0.9, 0.1, 0.0), (0.2, 0.8, 0.0), (0.0, 0.0, 0.0))
    text = says.confusion(Confusion("trial-1", 6, ("wren", "tit", "owl"), shares, (Mixed("tit", "wren", 0.2),)))
    assert text.startswith("Hardest for trial-1 is tit, right in 80.0 % of the cases")
    assert text.endswith("No test image is of owl.")


def test_the_confusion_agrees_with_the_accuracy(told: tuple[StudyState, Findings], facts: Facts) -> None:
    found = facts.confusion
    assert isinstance(found, Confusion)
    shares = np.array(found.shares)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert np.diag(shares).mean() == pytest.approx(told[1].standings[0].mean)  # classes of equal size
    assert found.net == told[1].leader
    worst = found.mixed[0]
    a, b = found.classes.index(worst.label), found.classes.index(worst.predicted)
    assert worst.share == max(shares[i, j] for i in range(10) for j in range(10) if i != j) == shares[a, b]


def test_mistakes_come_most_votes_first(facts: Facts) -> None:
    found = facts.mistakes
    assert isinstance(found, Mistakes)
    votes = [it.votes for it in found.shown]
    assert votes == sorted(votes, reverse=True)
    assert votes[0] == found.seeds == 3


def test_duplicates_are_left_out(told: tuple[StudyState, Findings], facts: Facts) -> None:
    state, findings = told
    found = facts.duplicates
    assert isinstance(found, Duplicates)
    assert (found.images, found.exact, found.pairs) == (60, 12, len(findings.pairs))
    tested = [state.jobs[f"final-{findings.leader}-seed{seed}"].tested for seed in findings.seeds]
    apart = np.mean([it.hits()[60:].mean() for it in tested if it is not None])
    assert found.nets[0].without == pytest.approx(apart)
    assert len(tested) == 3
    assert all(it is not None and it.images == IMAGES for it in tested)


def test_a_net_that_two_names_stand_for_costs_once(facts: Facts) -> None:
    by_kind = {it.what: it.nets for it in facts.cost.spent}
    assert by_kind == {"the search": 6, "the lab's nets beside it": 4, "the finals": 18, "all together": 28}
    *parts, whole = facts.cost.spent
    assert whole.train_s == pytest.approx(sum(it.train_s for it in parts))


def test_a_pause_between_runs_is_told() -> None:
    story = Story().begin().search(2)
    story.tell("session", "", 2, seconds=36_000, target=3)
    for arch, train, drawn in proposals(1, first=2):
        story.train("trial-0002", "trial", 2, arch, train, drawn)
    assert gather(story.state, None).search.paused
    story.compare(1, 2)  # which takes hours of its own, and hides no pause
    assert gather(story.state, None).search.paused
    assert not gather(Story().begin().search(3).state, None).search.paused


def test_trials_are_timed_from_the_first_ones_start(facts: Facts) -> None:
    minutes = [it.minutes for it in facts.search.attempts]
    assert minutes[0] > 0
    assert facts.search.by_minute[0][0] == min(it.minutes for it in facts.search.attempts if it.full)


def test_forest_rows_keep_clear_of_each_other(told: tuple[StudyState, Findings]) -> None:
    figure = final_charts.forest(told[1].pairs)
    left = sorted(note.y for note in figure.layout.annotations if note.xanchor == "left")
    assert all(after - before >= 15 for before, after in pairwise(left))
    assert figure.layout.height > left[-1]


def test_a_score_far_below_the_others_stands_at_the_foot() -> None:
    low = replace(NET, name="trial-1", number=1, full=False, score=0.2)
    search = replace(gather(Story().begin().search(1).state, None).search, attempts=(NET, low))
    figure = search_charts.history(search, "trial")
    stopped = figure.data[0]
    assert stopped.marker.symbol == ("triangle-down",)
    bottom, top = figure.layout.yaxis.range
    assert bottom < stopped.y[0] < bottom + 0.1 * (top - bottom)


def test_text_for_charts_and_markdown_is_inert() -> None:
    assert label("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    assert plain("a | [b](c)\n`d` *e* <f>") == r"a \| \[b\](c) \`d\` \*e\* &lt;f&gt;"
    assert set(DARK) & set(DARK.values()) == set()


def test_numbers_for_people() -> None:
    assert [short(number) for number in (950, 1_500, 3_291_402, 2.5e9)] == ["950", "1.5 k", "3.29 M", "2.5 G"]
    assert [counted(1, "trial"), counted(2_000, "image"), counted(0, "has", "have")] == [
        "1 trial",
        "2,000 images",
        "0 have",
    ]
    assert [listed(list(names)) for names in ("", "a", "ab", "abc")] == ["none", "a", "a and b", "a, b and c"]


def test_a_verdict_on_an_earlier_state_says_so_and_what_to_type(told: tuple[StudyState, Findings]) -> None:
    state, findings = told
    assert gather(state, findings).verdict.command == ""
    older = copy.deepcopy(state)
    assert older.compared is not None
    leads = older.finalists()[0]
    kept = [net for net in older.compared["contenders"] if net["name"] != f"trial-{leads.number}"]
    older.compared = {**older.compared, "contenders": kept}
    verdict = gather(older, findings).verdict
    assert verdict.beside[0].startswith("compare has judged an earlier state of this study")
    assert verdict.command == "python -m fmnist_sweep compare --study default"


def test_a_net_that_the_finals_could_not_judge_is_named(told: tuple[StudyState, Findings]) -> None:
    state = copy.deepcopy(told[0])
    assert state.compared is not None
    assert not any("diverged" in line for line in gather(state, told[1]).verdict.beside)
    state.compared = {**state.compared, "left_out": [{**state.compared["contenders"][0], "name": "lab-cnn9"}]}
    assert "lab-cnn9 diverged in the finals, so it is not judged." in gather(state, told[1]).verdict.beside


def test_a_net_that_failed_has_no_score_and_one_of_the_lab_that_still_trains_leads_nobody() -> None:
    story = Story().begin().lab().search(6)
    best = story.state.ranked()[0]
    found = gather(story.state, None).search
    assert found.best_of_lab is not None
    story.tell("ended", best.key, 1, state="failed", reason="diverged: the loss became nan", result=None)
    ahead = max((job for job in story.state.of_kind("lab") if not job.same_as), key=lambda job: job.best or 0.0)
    story.tell("started", ahead.key, 2)
    search = gather(story.state, None).search
    assert best.number not in [it.number for it in search.attempts]
    assert search.best_of_lab is not None
    assert search.best_of_lab.name != ahead.key
    assert ahead.key not in [it.name for it in search.front]
    assert ahead.key in [it.name for it in search.lab]


def test_a_gap_that_is_none_is_not_called_the_widest(facts: Facts) -> None:
    assert "The widest gap at the end is that of" in says.curves(facts.search)
    (curve, *_) = facts.search.shown
    flat = replace(curve, train_accuracy=curve.val_accuracy)
    told = says.curves(replace(facts.search, shown=(flat, flat)))
    assert told.startswith("None of these nets does better on the training images")


def test_the_labs_nets_show_what_a_seed_does_only_where_they_are(facts: Facts) -> None:
    assert "The lab's nets, which nobody chose" in says.shrinkage(facts.shrinkages)
    assert "lab" not in says.shrinkage([it for it in facts.shrinkages if not it.lab])


def test_mistakes_of_a_net_that_led_before_are_not_shown_as_the_leaders(told: tuple[StudyState, Findings]) -> None:
    state = copy.deepcopy(told[0])
    assert state.mistakes is not None
    state.mistakes = {**state.mistakes, "net": "trial-99"}
    found = gather(state, told[1]).mistakes
    assert isinstance(found, Missing)
    assert "trial-99" in found.reason


def test_classes_that_are_called_by_numbers_are_names_all_the_same() -> None:
    found = Confusion("trial-1", 6, ("2", "5", "20"), ((0.9, 0.1, 0.0), (0.2, 0.8, 0.0), (0.0, 0.1, 0.9)), ())
    layout = final_charts.confusion(found).to_dict()["layout"]
    assert (layout["xaxis"]["type"], layout["yaxis"]["type"], layout["xaxis"]["dtick"]) == ("category", "category", 1)


def test_twins_of_the_finals_are_told_where_no_search_trained_the_lab() -> None:
    story = Story().begin().search(8)
    findings = story.compare(1, 6)
    facts = gather(story.state, findings)
    assert facts.twins == ("lab-cnn3-bn-as-written is lab-cnn3, the same net",)
