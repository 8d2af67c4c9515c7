"""The views that MLflow's experiment page is given: what they order, filter, group and draw."""

from __future__ import annotations

import re

from fmnist_sweep.views import pages, shown
from tests.report_stand_ins import Story


def test_a_search_has_the_best_and_all_and_a_comparison_adds_the_finals() -> None:
    story = Story().begin().lab().search(3)
    assert [key.removeprefix(pages.TAG) for key in pages.saved_views(story.state)] == [pages.BEST, pages.ALL]
    story.compare(1, 2)
    views = pages.saved_views(story.state)
    assert [key.removeprefix(pages.TAG) for key in views] == [pages.BEST, pages.ALL, pages.FINALS]
    name, finals = pages.unpacked(views[pages.TAG + pages.FINALS])
    assert name == "The finals, mean of all seeds"
    assert finals["orderByKey"] == "metrics.`test_accuracy`"
    folded = {key.removeprefix(f"tag.{shown.NAME_TAG}.") for key in finals["groupsExpanded"]}
    assert {"lab-cnn1", "lab-mlp"} < folded
    assert sum(bool(re.fullmatch(r"trial \d+", it)) for it in folded) == 1
    assert all(len(value) < 5_000 for value in views.values())  # MLflow's limit for an experiment's tag


def test_every_chart_is_in_a_section_of_the_view_and_shows_what_is_logged() -> None:
    state = Story().begin().lab().search(3).state
    logged = {*shown.CURVES}
    params: set[str] = set()
    for job in state.jobs.values():
        logged |= {*shown.end_metrics(job), *shown.birth_metrics(job)}
        params |= {*shown.params(state.study, job), *shown.look_params(job)}
    for value in pages.saved_views(state).values():
        _, view = pages.unpacked(value)
        sections = {section["uuid"] for section in view["compareRunSections"]}
        for chart in view["compareRunCharts"]:
            assert chart["metricSectionId"] in sections
            metrics = [chart.get("metricKey"), *chart.get("selectedMetrics", [])]
            metrics += [chart[axis]["key"] for axis in ("xaxis", "yaxis") if axis in chart]
            assert {metric for metric in metrics if metric} <= logged
            assert set(chart.get("selectedParams", [])) <= params
        assert {column.split("`")[1] for column in view["selectedColumns"]} <= logged | params


def test_the_axes_are_numbers_for_every_net_and_the_names_are_one_for_all_seeds() -> None:
    story = Story().begin().lab().search(4)
    story.compare(1, 2)
    for job in story.state.jobs.values():
        assert all(float(value) >= 0 for value in shown.look_params(job).values())
        assert re.fullmatch(r"#[0-9a-f]{6}", shown.look_tags(job)["mlflow.runColor"])
        assert "seed" not in shown.name(job)
        assert job.arch.short in shown.note(job)
