"""Pictures of what a person sees of a finished study: ``python -m tests.browser.shots --home HOME --out FOLDER``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from mlflow_server import model_url, run_url
from tests.browser.chromium import browser_page, close_assistant, executable, visit

COLORS = 128  # of a palette: a screenshot has few, and takes a third of the bytes


@contextmanager
def served(home: Path, study: str) -> Iterator[dict[str, str]]:
    """The addresses that ``ui`` gives of a study, while its server runs."""
    words = ["ui", "--home", str(home), "--study", study, "--port", "0", "--no-browser", "--json"]
    server = subprocess.Popen([sys.executable, "-m", "fmnist_sweep", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        addresses: dict[str, str] = json.loads(server.stdout.readline())
        yield addresses
    finally:
        server.terminate()
        server.wait(60)


def best(home: Path, study: str) -> tuple[str, str]:
    """The experiment of a study and the run of its best trial, MLflow's identifiers."""
    words = ["status", "--home", str(home), "--study", study, "--json"]
    done = subprocess.run([sys.executable, "-m", "fmnist_sweep", *words], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return found["experiment_id"], found["best"]["run_id"]


def take(page: Page, file: Path, full: bool = False) -> None:
    """Saves what the page shows, with a palette."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(1_500)  # charts fade in
    page.screenshot(path=file, full_page=full)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(f"{file}  {file.stat().st_size / 1000:.0f} kB")


def shoot(page: Page, pages: dict[str, str], out: Path) -> None:
    """MLflow's pages, by file name."""
    for name, address in pages.items():
        visit(page, address)
        page.locator("h1, h2, [data-testid]").first.wait_for()
        page.wait_for_timeout(2_500)
        close_assistant(page)
        page.get_by_text("Path: file:").evaluate_all(
            "them => them.forEach(it => { it.textContent = '' })"
        )  # of this disk
        if name == "mlflow-curves":
            page.get_by_placeholder("Search metric charts").fill("_loss|n_accuracy|^val_accuracy")
            page.wait_for_timeout(2_500)
        take(page, out / f"{name}.png")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("fmnist_runs"))
    parser.add_argument("--study", default="default")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(given.home, given.study) as addresses, browser_page(executable(), []) as page:
        server = addresses["tracking_uri"]
        pages = {
            "mlflow-best": addresses["start_url"],
            "mlflow-table": addresses["table_url"],
            "mlflow-compare": addresses["compare_url"],
            "mlflow-study": addresses["study_url"],
            "mlflow-report": addresses["study_url"].replace("?", f"/artifacts/{given.study}.html?"),
            "mlflow-curves": run_url(server, *best(given.home, given.study), "model-metrics"),
            "mlflow-model": model_url(server, "fmnist-sweep"),
        }
        if "finals_url" in addresses:
            pages["mlflow-finals"] = addresses["finals_url"]
        shoot(page, pages, given.out)
        report = given.home / "reports" / f"{given.study}.html"
        if report.exists():
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(report.resolve().as_uri())
            take(page, given.out / "report.png")
            page.set_viewport_size({"width": 360, "height": 740})
            take(page, given.out / "report-phone.png")


if __name__ == "__main__":
    main()
