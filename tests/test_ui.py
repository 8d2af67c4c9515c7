"""``ui`` without a browser: which server it opens, and what it says of one that ends; which one ``status`` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fmnist_sweep import study
from fmnist_sweep.commands import status
from fmnist_sweep.commands import ui as command
from fmnist_sweep.errors import TrackingError
from fmnist_sweep.home import Home
from fmnist_sweep.options import settings_of
from fmnist_sweep.settings import Settings
from tests.report_stand_ins import Story

TEAM = "http://team:5000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(settings_of(tmp_path), home=Home(tmp_path), study="default")


def shown(where: str) -> Story:
    story = Story().begin().search(2)
    story.tell("view", "", 1, experiment_id="7", tracking_uri=where)
    return story


@pytest.mark.parametrize(
    ("recorded", "given", "found"), [("", "", ""), (TEAM, "", TEAM), (TEAM, "http://b:1", "http://b:1")]
)
def test_a_study_is_looked_at_where_it_is_shown(settings: Settings, recorded: str, given: str, found: str) -> None:
    named = replace(settings, tracking_uri=given)
    assert study.shown_at(named, shown(recorded).state).tracking_uri == found


def test_a_server_with_a_password_has_to_be_named_again(settings: Settings) -> None:
    with pytest.raises(TrackingError, match=r"is shown at http://ada:\*\*\*@team.*--tracking-uri"):
        study.shown_at(settings, shown("http://ada:***@team").state)


def opened(settings: Settings, story: Story, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(study, "read", lambda *_: story.state)
    command.ui(settings, port=0, browser=False, console=Console(quiet=True), ready=found.append)
    return found


def test_the_teams_pages_are_opened_for_a_study_that_is_shown_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (addresses,) = opened(settings, shown(TEAM), monkeypatch)
    assert addresses["tracking_uri"] == TEAM
    assert addresses["start_url"].startswith(f"{TEAM}/#/experiments/7")


def test_a_server_that_ends_by_itself_is_no_success(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead:
        uri = "http://127.0.0.1:1"

        def wait(self) -> int:
            return 3

    @contextmanager
    def start(*_: Any, **__: Any) -> Iterator[Dead]:
        yield Dead()

    monkeypatch.setattr(command, "start", start)
    with pytest.raises(TrackingError, match=r"ended by itself \(exit code 3\); see .*mlflow_server.log"):
        opened(settings, shown(""), monkeypatch)


@pytest.mark.parametrize(("recorded", "given", "found"), [(TEAM, "", TEAM), (TEAM, "http://b:1", "http://b:1")])
def test_status_names_the_server_that_shows_the_study(
    settings: Settings, recorded: str, given: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = shown(recorded)
    for place, job in enumerate(story.state.ranked()):
        story.tell("run", job.key, run_id=f"run{place}")
    monkeypatch.setattr(study, "read", lambda *_: story.state)
    told = status.status(replace(settings, tracking_uri=given), watch=False, console=Console(quiet=True))
    assert told["tracking_uri"] == found
    assert told["compare_url"].startswith(f"{found}/#/compare-runs?")
