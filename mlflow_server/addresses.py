"""Addresses of MLflow's pages (3.17) that show training runs at once, ready to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

# Without it the pages open for GenAI, with traces in place of runs.
_WORKFLOW = "workflowType=machine_learning"
# The newest first, as the page would have it, hides the lab's nets below fifty trials.
_BEST_FIRST = f"orderByKey={quote('metrics.`best_val_accuracy`', safe='')}&orderByAsc=false"


def table_url(base: str, experiment_id: str, view: str = "") -> str:
    """The experiment's runs as a table; with ``view`` as the view that was saved under that key shows them."""
    return _runs_url(base, experiment_id, "TABLE", view)


def charts_url(base: str, experiment_id: str, view: str = "") -> str:
    """The experiment's runs as charts; for ``view`` see ``table_url``.

    Without one: bars for what is logged once, curves for what is logged by epoch.
    """
    return _runs_url(base, experiment_id, "CHART", view)


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The comparison of these runs, side by side, with all their params and metrics.

    Raises:
        ValueError: No run is given.
    """
    if not run_ids:
        raise ValueError("a comparison needs at least one run; valid: a list of run ids")
    # The page looks for a parameter named "?runs", so the runs must come first.
    return f"{_root(base)}/compare-runs?runs={_listed(run_ids)}&experiments={_listed([experiment_id])}&{_WORKFLOW}"


def run_url(base: str, experiment_id: str, run_id: str, tab: str = "") -> str:
    """One run's page, or a tab of it: ``model-metrics``, or ``artifacts/`` and a file's path."""
    place = f"{_root(base)}/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"
    return f"{place}/{quote(tab)}?{_WORKFLOW}" if tab else f"{place}?{_WORKFLOW}"


def model_url(base: str, name: str) -> str:
    """A registered model's page."""
    return f"{_root(base)}/models/{quote(name, safe='')}?{_WORKFLOW}"


def _runs_url(base: str, experiment_id: str, mode: str, view: str) -> str:
    place = f"{_root(base)}/experiments/{quote(experiment_id, safe='')}/runs"
    # The page reads a saved view only where the address orders and filters nothing itself.
    shown = f"viewStateShareKey={quote(view, safe='')}" if view else _BEST_FIRST
    return f"{place}?compareRunsMode={mode}&{shown}&{_WORKFLOW}"


def _root(base: str) -> str:
    return f"{base.rstrip('/')}/#"


def _listed(ids: Sequence[str]) -> str:
    return quote(json.dumps(list(ids), separators=(",", ":")), safe="")
