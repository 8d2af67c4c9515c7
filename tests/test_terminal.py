"""What a person sees while a study runs: a real pseudo-terminal, its screen as a terminal draws it, and a pipe."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console, Group
from rich.table import Table

from fmnist_sweep import app, display
from fmnist_sweep.commands import status
from fmnist_sweep.display import LiveTable, clock, news
from fmnist_sweep.estimate import seconds_left
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import StudyState
from tests.pseudo_terminal import PATIENCE_S, terminal
from tests.report_stand_ins import curve, proposals
from tests.terminal_child import story

CHILD = [sys.executable, "-m", "tests.terminal_child"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_live_table_fits_and_ctrl_c_leaves_a_clean_screen(columns: int) -> None:
    with terminal(CHILD, columns) as shown:
        shown.read_until("a line for people")
        shown.read_until("trial 7")
        lines = shown.lines
        (at,) = [place for place, line in enumerate(lines) if "of 50 trials tried" in line]
        assert "best " in lines[at]
        assert lines[at + 1].split() == ["training", "net", "epoch", "accuracy", "left"]
        assert [line.split()[:2] for line in lines[at + 2 : at + 4]] == [["trial", "6"], ["trial", "7"]]
        assert not any(lines[at + 4 :])
        above = [line for line in lines[:at] if line]
        assert all(line.startswith(("[", "a line")) for line in above), "a line was wrapped"
        assert all(" %" in line for line in above if line.startswith("[") and "FAILED" not in line)
        assert shown.cursor_hidden()
        shown.type(b"\x03")
        shown.read_until("")
        left = [line for line in shown.lines if line and line != "^C"]
        assert not [line for line in left if "trials tried" in line or line.startswith("trial")]
        assert not shown.cursor_hidden()
        assert shown.program.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_status_follows_a_running_study_from_another_terminal_to_its_end(tmp_path: Path, columns: int) -> None:
    home = Home(tmp_path / "home")
    home.create()
    folder = home.study("default")
    folder.path.mkdir(parents=True)
    watch = [sys.executable, "-m", "fmnist_sweep", "status", "--home", str(home.path), "--watch"]
    with ExitStack() as driver, closing(Ledger(folder.ledger)) as ledger:
        driver.enter_context(folder.locked())
        for event in story().events:
            ledger.append(event.kind, event.job, event.place, **event.body)
        with terminal(watch, columns) as shown:
            shown.read_until("6 trials ended")
            shown.read_until("trial 7 training: epoch 1 of 5")
            ledger.append("ended", "trial-0007", 0, state="failed", reason="it was ill", result=None)
            shown.read_until("7 trials ended", without="trial 7 training")
            shown.read_until("trial 6 training")
            assert shown.cursor_hidden()
            driver.close()
            shown.read_until("")
            assert not shown.cursor_hidden()
            assert shown.program.wait(PATIENCE_S) == 0
            left = [line for line in shown.lines if line]
            assert sum("7 trials ended" in line for line in left) == 1
            assert "not running" in " ".join(left[:2])


def drawn_table(state: StudyState, lines: int = 40) -> str:
    """The live table of a study at a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, height=lines)
    table = LiveTable(console, 50)
    table.close()
    with console.capture() as drawn:
        console.print(table._render(state))
    return drawn.get()


def test_more_running_nets_than_a_terminal_has_lines_are_counted() -> None:
    lines = drawn_table(story(30).state, 16).splitlines()
    assert len(lines) < 16
    assert lines[-1].strip() == "and 20 more"
    assert "more" not in drawn_table(story(10).state, 16)


def test_the_time_left_is_that_of_all_that_were_seen_at_work() -> None:
    few, many = story(2).state, story(30).state
    alone, together = (LiveTable(Console(file=io.StringIO()), 400) for _ in range(2))
    alone._render(few)
    together._render(many)
    together._render(few)
    short, long = seconds_left(few, 400, 30), seconds_left(few, 400, 2)
    assert short is not None
    assert long is not None
    assert f"about {clock(long)} left" in alone._headline(few)
    assert f"about {clock(short)} left" in together._headline(few)
    for table in (alone, together):
        table.close()


def test_nets_that_the_run_leaves_to_another_are_not_counted() -> None:
    told = story(0)
    ((arch, train, drawn),) = proposals(1, 6)
    for key in ("final-a-seed1", "final-a-seed2"):
        told.ask(key, "final", -1, arch, train, drawn, (5.0,))
    table = LiveTable(Console(file=io.StringIO()), 50)
    table.close()
    assert "5 of 7 other nets" in table._headline(told.state)
    told.tell("left", "", told.state.seq, keys=["final-a-seed1"])
    assert "5 of 6 other nets" in table._headline(told.state)
    told.tell("left", "", told.state.seq, keys=["final-a-seed1", "final-a-seed2"])
    assert "other nets" not in table._headline(told.state)


def test_the_table_is_drawn_as_often_as_there_is_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told, clock_, drawn = story(2).state, SimpleNamespace(now=0.0), list[float]()
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: clock_.now))
    table = LiveTable(Console(file=io.StringIO()), 50)

    def render(_: StudyState) -> Group:
        drawn.append(clock_.now)
        clock_.now += 0.01
        return Group()

    monkeypatch.setattr(table, "_render", render)
    while clock_.now < 1.0:
        table.watch(told, None)
        clock_.now += 0.001
    table.close()
    assert drawn == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8], abs=0.01)


def test_a_net_shows_at_a_rung_what_it_is_compared_by() -> None:
    told = story(0)
    ((arch, train, drawn),) = proposals(1, 6)
    told.ask("trial-0006", "trial", 6, arch, train, drawn, (0.5, 5.0))
    told.tell("started", "trial-0006", 1)
    (report,) = curve(arch, train, (0.5,))
    rough = replace(report, val_accuracy=0.8111, steady_accuracy=0.8222)
    told.tell("report", "trial-0006", rough.place, **rough.body)
    assert " 82.22 %" in drawn_table(told.state)
    told.tell("held", "trial-0006", rough.place)
    assert "  82.22 %  set aside at epoch 0.5  " in news(told.state, told.events[-1], 50)


def test_a_failure_that_is_shared_is_told_as_one() -> None:
    told = story(0)
    ((arch, train, drawn),) = proposals(1, 6)
    told.ask("trial-0006", "trial", 6, arch, train, drawn, (1.0, 5.0), "lab-cnn3")
    reason = "diverged: the loss became nan (the same net as lab-cnn3)"
    told.tell("ended", "trial-0006", 0, state="failed", reason=reason, result=None)
    assert f"FAILED: {reason}" in news(told.state, told.events[-1], 50)


def test_names_of_users_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("net")
    table.add_row("[other] :smile:")
    shown = app.console()
    shown.print("photo[edited].jpg, [/x]", table)
    told = capsys.readouterr().err
    assert "photo[edited].jpg, [/x]" in told
    assert "[other] :smile:" in told


def test_a_net_that_waits_to_go_on_does_not_train() -> None:
    told = story(2)
    told.tell("paused", "trial-0006", 1)
    assert "trial 7" in drawn_table(told.state)
    assert "trial 6 " not in drawn_table(told.state)
    assert [line.split(": ")[0] for line in status.under_way(told.state, True)] == [
        "trial 6 unfinished",
        "trial 7 training",
    ]


def test_status_tells_what_trains_from_what_is_set_aside() -> None:
    told = story(3)
    told.tell("held", "trial-0007", 1)
    lines = status.under_way(told.state, True)
    assert [line.split(": ")[0] for line in lines[:-1]] == ["trial 6 training", "trial 8 training"]
    assert lines[-1] == "set aside at a rung for now: 1"
    assert [line.split(": ")[0] for line in status.under_way(told.state, False)[:-1]] == [
        "trial 6 unfinished",
        "trial 8 unfinished",
    ]


def test_no_color_is_respected_in_a_terminal() -> None:
    with terminal(CHILD, NO_COLOR="1") as shown:
        shown.read_until("a line for people")
        assert {screen.fg for row in shown.screen.buffer.values() for screen in row.values()} == {"default"}


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_a_pipe_gets_a_line_for_each_net_and_no_control_characters(term: str) -> None:
    environment = {**os.environ, "TERM": term, "COLUMNS": "80"}
    done = subprocess.run(CHILD, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=True)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert sum(line.startswith("[lab] lab-") for line in lines) == 5
    assert sum("/50] trial " in line for line in lines) == 6
    assert len(lines) == 5 + 6 + 1
