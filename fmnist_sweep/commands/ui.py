"""``ui``: MLflow's server over the local store, opened on the page that answers the question."""

from __future__ import annotations

import signal
import webbrowser
from collections.abc import Callable
from typing import Any

from rich.console import Console

from fmnist_sweep import study, summary
from fmnist_sweep.errors import StudyError, TrackingError
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import mlflow_moved, pages
from mlflow_server import ServerError, ServerSettings, charts_url, compare_url, run_url, start, table_url


def ui(
    settings: Settings, *, port: int, browser: bool, console: Console, ready: Callable[[dict[str, Any]], None]
) -> None:
    """Serves until Ctrl-C; see the command line's ``ui``.

    Args:
        settings: Which home and study.
        port: Where to listen on 127.0.0.1; 0 for any free one.
        browser: Whether to open the page.
        console: For people.
        ready: Gets the addresses once they answer.

    Raises:
        SweepError: There is no study to show, or the server does not start.
    """
    name = settings.study or study.plan(settings).name
    state = study.read(settings, name)
    experiment = state.views.get("experiment_id")
    if not experiment:
        raise StudyError(f"study {name!r} is not in MLflow yet; run it first")
    settings = study.shown_at(settings, state)
    if settings.tracking_uri.startswith(("http://", "https://")):
        _tell(console, _addresses(settings.tracking_uri, experiment, state), browser, ready)
        return
    console.print("starting MLflow's server, which takes up to 20 seconds")
    mlflow_moved.follow(settings.mlflow)
    server_settings = ServerSettings(
        backend_store_uri=settings.mlflow, artifacts_destination=str(settings.home.artifacts.resolve()), port=port
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this may have had them ignored
        signal.signal(number, signal.default_int_handler)
    told = False
    try:
        with start(server_settings, log=settings.home.path / "mlflow_server.log") as server:
            _tell(console, _addresses(server.uri, experiment, state), browser, ready)
            told = True
            console.print("Ctrl-C ends the server")
            code = server.wait()
        raise TrackingError(
            f"MLflow's server ended by itself (exit code {code}); see {settings.home.path / 'mlflow_server.log'}"
        )
    except ServerError as error:
        raise TrackingError(str(error)) from None
    except KeyboardInterrupt:
        if not told:
            raise
        console.print("server ended")


def _addresses(base: str, experiment: str, state: StudyState) -> dict[str, str]:
    """The pages by name, with the saved views that MLflow has; ``start_url`` is the one that answers the question."""
    runs = summary.shown_runs(state)
    known = pages.known(state)
    best, every = (view if view in known else "" for view in (pages.BEST, pages.ALL))
    found = {
        "tracking_uri": base,
        "start_url": charts_url(base, experiment, best),
        "compare_url": compare_url(base, experiment, runs) if runs else table_url(base, experiment, every),
        "charts_url": charts_url(base, experiment, every),
        "table_url": table_url(base, experiment, every),
    }
    if pages.FINALS in known:
        found["finals_url"] = charts_url(base, experiment, pages.FINALS)
    if "study_run_id" in state.views:
        found["study_url"] = run_url(base, experiment, state.views["study_run_id"])
    return found


_PAGES = {
    "start_url": "the lab's nets and the best trials side by side",
    "finals_url": "the finals: each net's mean over all seeds, on the test set",
    "table_url": "the lab's nets and all trials as a table",
    "study_url": "the study: summary, report, versions",
}


def _tell(console: Console, addresses: dict[str, str], browser: bool, ready: Callable[[dict[str, Any]], None]) -> None:
    for key, label in _PAGES.items():
        if key in addresses:
            console.print(f"{label}:\n  {addresses[key]}", soft_wrap=True, highlight=False)
    ready(addresses)  # before the browser, which may be one in this very terminal
    if browser:
        webbrowser.open(addresses["start_url"])
