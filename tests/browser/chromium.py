"""A headless Chromium for tests and screenshots, which reaches this machine alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, sync_playwright

from tests.debian import install

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE_MS = 60_000
_ASSISTANT = '[data-component-id="mlflow.assistant.chat_panel.close"]'


def executable() -> str:
    """The browser; as root on Debian it is installed where it is missing. "" where there is none to be had."""
    found = shutil.which("chromium")
    if found is None and not install("chromium"):
        found = shutil.which("chromium")
    return found or ""


@contextmanager
def browser_page(program: str, outside: list[str]) -> Iterator[Page]:
    """A page of a fresh browser; what it asks of other machines is refused and listed in ``outside``."""

    def guard(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme in ("http", "https") and parts.hostname != "127.0.0.1":
            outside.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.route("**/*", guard)
        try:
            yield page
        finally:
            browser.close()


def visit(page: Page, address: str, *words: str) -> None:
    """Opens a page of MLflow's and waits until all ``words`` can be seen on it."""
    page.goto("about:blank")  # addresses differ behind the "#" alone, which would not load the page anew
    page.goto(address)
    for word in words:
        page.get_by_text(word).locator("visible=true").first.wait_for()


def close_assistant(page: Page) -> None:
    """Closes the panel that MLflow opens on a first visit, over a quarter of the page."""
    button = page.locator(_ASSISTANT)
    if button.count():
        button.first.click()
        button.first.wait_for(state="detached")
