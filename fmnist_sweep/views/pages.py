"""The views that MLflow's experiment page offers of a study: which runs, columns and charts, in which order.

MLflow's page (3.17) keeps a saved view in a tag of the experiment, lists it in its menu ``Views``, and opens it by its
key in the address. Left to itself it shows the newest runs first, the finals of ``compare`` among the trials, and a bar
chart for each metric: nothing there says which net is best, or what the best have in common.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from fmnist_sweep.state import StudyState
from fmnist_sweep.views.shown import NAME_TAG, name

TAG = "mlflow.sharedViewState."
BEST = "sweep-best"
ALL = "sweep-all"
FINALS = "sweep-finals"

_NET = ("depth", "filters", "batch_norm", "dropout", "dense_units")
_AXES = ("depth", "filters_sum", "batch_norm", "dropout_mean")
_ONCE = ("parameters", "train_s")
_SEARCH = "tags.`sweep.kind` != 'final' AND params.epochs != ''"  # the run of the study itself has no metric to show
_ANSWER, _MORE, _REST = "answer", "difference", "rest"
_MOST_RUNS = 100
_WIDTHS = {"metrics.`best_val_accuracy`": 150, "metrics.`test_accuracy`": 150}


def saved_views(state: StudyState) -> dict[str, str]:
    """The experiment's tags that hold the views of a study, by name."""
    when = round(1000 * state.study["created"])
    epochs = max((job.train.epochs for job in state.trials()), default=None)
    best = {"compareRunCharts": _charts("best_val_accuracy", epochs), "compareRunSections": _sections()}
    views: dict[str, tuple[str, str, str, dict[str, Any]]] = {
        BEST: ("The lab's nets and the best trials", _SEARCH + " AND tags.`sweep.state` = 'complete'", "", best),
        ALL: ("The lab's nets and all trials", _SEARCH, "", best),
    }
    if state.compared is not None:
        charts = {
            "compareRunCharts": _charts("test_accuracy", epochs),
            "compareRunSections": _sections(),
            "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": NAME_TAG}]},
            "groupsExpanded": {f"tag.{NAME_TAG}.{it}": False for it in _finalists(state)},
        }
        views[FINALS] = ("The finals, mean of all seeds", "tags.`sweep.kind` = 'final'", "test_accuracy", charts)
    return {
        TAG + key: _packed(title, when, {**_page(runs, metric or "best_val_accuracy"), **more})
        for key, (title, runs, metric, more) in views.items()
    }


def _finalists(state: StudyState) -> Iterable[str]:
    return dict.fromkeys(name(job) for job in state.of_kind("final"))


def _page(runs: str, metric: str) -> dict[str, Any]:
    """Which runs, by which metric, in which columns."""
    columns = [f"metrics.`{metric}`", *(f"params.`{it}`" for it in _NET), *(f"metrics.`{it}`" for it in _ONCE)]
    return {
        "searchFilter": runs,
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _sections() -> list[dict[str, Any]]:
    return [
        _section(_ANSWER, "What do the best nets have in common?", columns=2),
        _section(_MORE, "What differs", columns=1),
        _section(_REST, "Model metrics", display=False),
        _section("system", "System metrics", display=False),
    ]


def _section(uuid: str, title: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "name": title, "display": True, "isReordered": True, "deleted": False, **more}


def _charts(metric: str, epochs: int | None) -> list[dict[str, Any]]:
    """The charts in their order; metrics that none of them has get one in the folded section below."""
    return [
        _chart("PARALLEL", _ANSWER, selectedParams=_AXES, selectedMetrics=[metric], showAllRuns=False),
        _chart("BAR", _ANSWER, metricKey=metric, dataAccessKey=metric),
        # The lab's fully connected net has ten times the epochs of all others, which would squeeze these.
        _chart("LINE", _ANSWER, metricKey="val_accuracy", selectedMetricKeys=["val_accuracy"], **_line(epochs)),
        _chart("SCATTER", _ANSWER, xaxis=_axis("parameters"), yaxis=_axis(metric)),
        _chart("DIFFERENCE", _MORE, compareGroups=["Parameters"], showDifferencesOnly=True, **_DIFFERENCE),
    ]


_DIFFERENCE = {"chartName": "Params that differ", "showChangeFromBaseline": False, "baselineColumnUuid": ""}


def _line(epochs: int | None) -> dict[str, Any]:
    scales = {"xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear", "yAxisKey": "metric"}
    return {**scales, "yAxisExpressions": [], "range": {"xMin": 0, "xMax": epochs} if epochs else {}}


def _chart(kind: str, section: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": f"{section}-{kind.lower()}",
        "type": kind,
        "metricSectionId": section,
        "runsCountToCompare": _MOST_RUNS,
        "deleted": False,
        "isGenerated": False,
        **more,
    }


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def _packed(title: str, created_ms: int, page: dict[str, Any]) -> str:
    """As MLflow's page writes a saved view: what it shows deflated, in an envelope with its name."""
    state = base64.b64encode(zlib.compress(json.dumps(page).encode())).decode()
    return json.dumps({"name": title, "createdAt": created_ms, "updatedAt": created_ms, "state": f"deflate;{state}"})


def unpacked(tag: str) -> tuple[str, dict[str, Any]]:
    """A saved view's name, and what it shows."""
    envelope = json.loads(tag)
    return envelope["name"], json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))


def known(state: StudyState) -> Sequence[str]:
    """The keys of the views that MLflow has of a study, by what its view has recorded."""
    return str(state.views.get("pages", "")).split()
