"""MLflow's pages and the report in a real browser: what a person sees of a finished study, without the network.

These come after the tests of the study itself, some of which look at it before ``compare`` has judged it.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from mlflow_server import model_url, run_url
from tests.browser.chromium import browser_page, close_assistant, executable, visit
from tests.conftest import Study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def addresses(judged: Study) -> Iterator[dict[str, str]]:
    child = judged.cli.start("ui", "--study", "smoke", "--home", "home", "--port", "0", "--no-browser", "--json")
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.communicate(timeout=240)
        finally:
            child.kill()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    program = executable()
    if not program:
        pytest.skip("no chromium here, and no right to install it (Debian: apt-get install chromium)")
    outside: list[str] = []
    with browser_page(program, outside) as opened:
        yield opened
    assert not outside, f"asked of other machines: {outside}"


def seen(page: Page) -> str:
    return page.locator("body").inner_text()


def test_ui_opens_the_labs_nets_and_the_best_trials_side_by_side(
    page: Page, addresses: dict[str, str], finished: Study
) -> None:
    best = finished.result["best"]["trial"]
    visit(page, addresses["start_url"], "lab-cnn1", f"trial {best} ·", "Parallel Coordinates", "best_val_accuracy")
    close_assistant(page)
    text = seen(page)
    assert "The lab's nets and the best trials" in text
    assert "final-" not in text
    assert "study smoke" not in text.splitlines()  # its run has no metric to compare
    assert "Traces will help" not in text
    axes = page.locator('[data-testid="experiment-view-compare-runs-chart-area"]')
    for axis in ("depth", "filters_sum", "batch_norm", "dropout_mean"):
        axes.get_by_text(axis, exact=True).first.wait_for()
    for title in ("val_accuracy", "parameters vs. best_val_accuracy"):
        axes.get_by_text(title, exact=True).first.wait_for()


def test_what_differs_between_the_nets_is_shown(page: Page, addresses: dict[str, str]) -> None:
    visit(page, addresses["start_url"], "lab-cnn1")
    close_assistant(page)
    page.get_by_text("What differs").first.scroll_into_view_if_needed()
    differing = page.locator('[data-testid="experiment-view-compare-runs-chart-area"]')
    differing.get_by_text("dense_units").first.wait_for()
    assert "batch_size" not in differing.inner_text()  # the same for all of them


def test_the_table_has_lab_and_trials_as_rows_and_params_and_metrics_as_columns(
    page: Page, addresses: dict[str, str]
) -> None:
    rows = ("lab-cnn1", "lab-cnn3", "lab-cnn3-bn-as-written", "lab-mlp", *(f"trial {it} ·" for it in range(4)))
    visit(page, addresses["table_url"], "lab-cnn3-bn-as-intended", *rows)
    close_assistant(page)
    for column in ("best_val_accuracy", "depth", "filters"):  # columns come as they come into sight
        page.locator(f'[col-id*="{column}"]').first.wait_for(state="attached")
    text = seen(page)
    assert "Model training" in text
    assert all(row in text for row in rows)
    columns = {column.split(".", 1)[1].strip("`") for column in _columns(page) if "." in column}
    assert {"best_val_accuracy", "depth", "filters"} <= columns
    assert "final-" not in text


def _columns(page: Page) -> list[str]:
    found: list[str] = page.locator("[col-id]").evaluate_all("them => them.map(it => it.getAttribute('col-id'))")
    return found


def test_the_finals_are_one_line_for_each_net(page: Page, addresses: dict[str, str], judged: Study) -> None:
    leader = judged.result["leader"].replace("trial-", "trial ")
    visit(page, addresses["finals_url"], f"Group: {leader}", "Group: lab-mlp", "test_accuracy")
    close_assistant(page)
    assert "final-" not in seen(page)


def test_the_comparison_of_runs_shows_their_params_side_by_side(page: Page, addresses: dict[str, str]) -> None:
    visit(page, addresses["compare_url"], "Parallel Coordinates Plot", "lab-cnn3-bn-as-intended", "best_val_accuracy")
    text = seen(page)
    for name in ("batch_norm", "depth", "filters", "dropout"):
        assert re.search(rf"^{name}\b", text, re.MULTILINE)


def test_the_study_says_what_was_found_and_has_the_report(page: Page, addresses: dict[str, str]) -> None:
    visit(page, addresses["study_url"], "study smoke", "Description")
    close_assistant(page)
    assert re.search(r"leads with|No trial beats|as has the best|No trial is trained", seen(page))
    assert "compare has judged this study under 2 seeds" in seen(page)
    visit(page, addresses["study_url"].replace("?", "/artifacts/smoke.html?"), "smoke.html", "sweep.json")
    page.frame_locator("iframe").get_by_text("The nets", exact=True).first.wait_for()


def test_a_trial_has_a_description_and_curves(page: Page, addresses: dict[str, str], finished: Study) -> None:
    best = finished.result["best"]
    where = (addresses["tracking_uri"], finished.result["experiment_id"], best["run_id"])
    visit(page, run_url(*where), f"trial {best['trial']} ·", "Trained in full")
    visit(page, run_url(*where, "model-metrics"), "best_val_accuracy")
    page.get_by_placeholder("Search metric charts").fill("val_loss")
    page.get_by_text("val_loss", exact=True).locator("visible=true").first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()


def test_the_registered_model_has_alias_signature_and_description(
    page: Page, addresses: dict[str, str], judged: Study
) -> None:
    visit(page, model_url(addresses["tracking_uri"], "fmnist-sweep"), "takes raw images", "@ champion")
    version = judged.result["champion"]["version"]
    address = model_url(addresses["tracking_uri"], f"fmnist-sweep/versions/{version}").replace("%2F", "/")
    visit(page, address, f"Version {version}", "Schema", "Inputs (1)", "Outputs (1)")
    assert judged.result["champion"]["why"] in seen(page)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_never_scrolls_sideways(page: Page, judged: Study, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((judged.cli.folder / judged.result["report"]).resolve().as_uri())
    page.get_by_text("The nets", exact=True).first.wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert judged.result["leader"] in seen(page)


def test_the_report_prints(page: Page, judged: Study) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto((judged.cli.folder / judged.result["report"]).resolve().as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.emulate_media(media="print")
    assert judged.result["leader"] in seen(page)
    assert page.pdf(format="A4").startswith(b"%PDF")
