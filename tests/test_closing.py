"""The last lines of the commands: what was found, how sure it is, where to look, what to type next."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fmnist_sweep import conclusion, session, study
from fmnist_sweep.commands import closing, compare, run
from fmnist_sweep.commands.closing import Closing
from fmnist_sweep.ending import Stopping
from fmnist_sweep.errors import StudyError
from fmnist_sweep.home import Home
from fmnist_sweep.options import settings_of
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from tests.report_stand_ins import Story


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return replace(settings_of(tmp_path / "fmnist_runs"), home=Home(tmp_path / "fmnist_runs"))


def lines(ending: Closing) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    ending.show(console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def after(lines: list[str], heading: str) -> list[str]:
    """The commands under a heading."""
    rest = lines[lines.index(heading) + 1 :]
    rest = rest[: rest.index("")] if "" in rest else rest
    return [line.strip() for line in rest if line.startswith("    ")]


def with_best(state: StudyState, key: str, accuracy: float) -> StudyState:
    """The state with another result of one net."""
    job = state.jobs[key]
    assert job.result is not None
    state.jobs[key] = replace(job, result=replace(job.result, best_val_accuracy=accuracy))
    return state


def test_a_finished_search_says_what_leads_how_sure_that_is_and_what_to_type(settings: Settings) -> None:
    state = Story().begin().lab().search(6).state
    top = state.ranked()[0]
    told = lines(closing.of_search(settings, with_best(state, top.key, 0.999), "done"))
    text = " ".join(told)
    assert f"trial {top.number} leads with 99.90 % in validation" in text
    assert "points above the best of the lab's nets (lab-" in text
    assert "One seed each: 12,000 validation images leave ±0.06 points (95 %)" in text
    assert "the best of 6 such scores looks better than it is" in text
    assert after(told, "Look:") == ["python -m fmnist_sweep ui", "python -m fmnist_sweep report"]
    assert after(told, "Next:") == ["python -m fmnist_sweep compare", "python -m fmnist_sweep export"]
    assert max(len(line) for line in told) <= 80


def test_that_nothing_beats_the_lab_is_said(settings: Settings) -> None:
    state = with_best(Story().begin().lab().search(6).state, "lab-cnn1", 0.999)
    text = " ".join(lines(closing.of_search(settings, state, "done")))
    assert "No trial beats the lab's nets: the best, trial" in text
    assert "points below lab-cnn1 (99.90 %)" in text


def test_one_trial_alone_is_no_best_of_many(settings: Settings) -> None:
    text = " ".join(lines(closing.of_search(settings, Story().begin().search(1).state, "done")))
    assert "trial 0 is the only one trained in full" in text
    assert "None of the lab's nets is beside it" in text
    assert "such scores" not in text


def test_the_labs_nets_alone_name_the_best_of_them_and_nothing_to_export(settings: Settings) -> None:
    told = lines(closing.of_search(settings, Story().begin(name="lab").lab().state, "done"))
    assert "is the best of the lab's nets" in told[1]
    assert "Next:" not in told
    assert "python -m fmnist_sweep ui --study lab" in after(told, "Look:")


def test_before_any_net_is_trained_nothing_is_claimed(settings: Settings) -> None:
    told = lines(closing.of_search(settings, Story().begin().state, "interrupted"))
    assert told[1:3] == ["Nothing is trained in full yet.", "There is nothing to trust yet."]


@pytest.mark.parametrize(("outcome", "words"), [("interrupted", "from here"), ("timeout", "a longer --timeout")])
def test_what_was_stopped_goes_on_with_the_same_command_but_never_afresh(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, outcome: str, words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["fmnist_sweep", "run", "--fresh", "--trials", "9", "--home", "my runs"])
    state = Story().begin().search(2, full=0).state
    ending = closing.of_search(settings, state, "interrupted" if outcome == "interrupted" else "timeout")
    told = lines(ending)
    assert "No trial is trained in full yet; trial" in told[1]
    assert words in told[told.index("Next:") + 1]
    assert after(told, "Next:") == ["python -m fmnist_sweep run --trials 9 --home 'my runs'"]


def test_no_password_is_in_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--tracking-uri", "http://ada:canary@host", "--storage=postgresql+psycopg://u:canary@db/x?password=canary"]
    monkeypatch.setattr(sys, "argv", ["fmnist_sweep", "run", *words])
    said = closing.same_command()
    assert "canary" not in said
    assert "http://ada:***@host" in said


def test_what_to_type_next_is_for_the_same_place(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Story().begin().search(3).state
    elsewhere = replace(settings, tracking_uri="http://team:5000", data_dir=Path("/data/images"))
    told = lines(closing.of_search(elsewhere, state, "done"))
    uri, files = "--tracking-uri http://team:5000", "--data-dir /data/images"
    assert after(told, "Look:") == [f"python -m fmnist_sweep ui {uri}", "python -m fmnist_sweep report"]
    assert after(told, "Next:") == [
        f"python -m fmnist_sweep {it}" for it in (f"compare {uri} {files}", f"export {files}")
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team:5000")
    assert closing.command("ui", elsewhere, state) == "python -m fmnist_sweep ui"
    monkeypatch.chdir("/")  # where the default is another folder of the same name
    home = settings.home.path
    assert closing.command("report", settings, state) == f"python -m fmnist_sweep report --home {home}"
    monkeypatch.setenv("FMNIST_SWEEP_HOME", str(home))
    assert closing.command("report", settings, state) == "python -m fmnist_sweep report"


def test_a_comparison_that_was_stopped_says_that_nothing_is_judged() -> None:
    story = Story().begin().search(3)
    for arch, train in [(job.arch, job.train) for job in story.state.ranked()[:1]]:
        for seed in (1, 2):
            story.ask(f"final-trial-0-seed{seed}", "final", -1, arch, train.with_seed(seed), {}, (1.0,))
    text = " ".join(lines(closing.of_unjudged(story.state)))
    assert "0 of 2 finals are trained; nothing is judged yet" in text
    assert "The test set is opened once all of them are" in text


def test_a_later_comparison_that_was_stopped_counts_what_is_new() -> None:
    story = Story().begin().lab().search(6)
    story.compare(1, 2)
    job = story.state.ranked()[1]
    for key in ("final-trial-9-seed1", "final-trial-9-seed2", "final-trial-8-seed1"):
        story.ask(key, "final", -1, job.arch, job.train.with_seed(1), {}, (1.0,))
    story.tell("left", "", story.state.seq, keys=["final-trial-8-seed1"])
    text = " ".join(lines(closing.of_unjudged(story.state)))
    assert "0 of 2 new finals are trained; nothing new is judged yet" in text
    assert "The test set is opened again once all of them are" in text


def test_after_a_comparison_the_champion_is_what_there_is_to_export(settings: Settings) -> None:
    story = Story().begin().lab().search(6)
    story.compare(1, 2)
    told = lines(closing.of_search(settings, story.state, "done"))
    assert "compare has judged this study under 2 seeds: champion" in told[3] + told[2]
    assert after(told, "Next:") == ["python -m fmnist_sweep export --model champion"]


def test_a_search_that_went_on_after_a_comparison_says_so_and_asks_for_another(settings: Settings) -> None:
    story = Story().begin().lab().search(6)
    story.compare(1, 2)
    state = story.state
    assert state.compared is not None
    new = f"trial-{state.finalists()[0].number}"
    judged = [net for net in state.compared["contenders"] if net["name"] != new]
    state.compared = {**state.compared, "contenders": judged}
    told = lines(closing.of_search(settings, state, "done"))
    assert "compare has judged an earlier state of this study (champion" in " ".join(told)
    assert after(told, "Next:") == ["python -m fmnist_sweep compare", "python -m fmnist_sweep export"]


def test_a_comparison_out_of_time_says_so_to_programs_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Story().begin().search(6).state
    ended = session.Session("timeout", state, 6, 1.0, None, "")
    monkeypatch.setattr(study, "read", lambda *_: state)
    monkeypatch.setattr(compare, "study_of", lambda *_, **__: run.Ended(0, {"best": None}, ended))
    told = compare.compare(replace(settings, study="default", timeout_s=5.0), 3, 6, quiet=True, console=Console())
    assert told.code == 1
    assert (told.result["outcome"], told.result["seeds"], told.result["test_openings"]) == (
        "timeout",
        [*range(1, 7)],
        0,
    )
    assert [told.result[key] for key in ("finalists", "pairs", "claims", "report")] == [[], [], [], None]


def test_a_finalist_that_could_not_be_judged_is_no_news(settings: Settings) -> None:
    """As one that diverged in the finals."""
    story = Story().begin().lab().search(6)
    story.compare(1, 2)
    state = story.state
    assert state.compared is not None
    leader = f"trial-{state.finalists()[0].number}"
    out = [net for net in state.compared["contenders"] if net["name"] == leader]
    judged = [net for net in state.compared["contenders"] if net["name"] != leader]
    state.compared = {**state.compared, "contenders": judged, "left_out": out}
    assert conclusion.unjudged(state) is None
    assert "champion" in " ".join(lines(closing.of_search(settings, state, "done")))
    state.compared = {**state.compared, "left_out": []}
    assert conclusion.unjudged(state) == state.finalists()[0]


def terminated_twice() -> None:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_signal_that_nobody_listens_for_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while files are fetched; where the driver listens, it ends things in order."""
    monkeypatch.setattr(run, "_UNHEARD_S", 3600.0)
    before = signal.getsignal(signal.SIGTERM)  # a command that ran in this process may have left its own
    with run._signals() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping() is Stopping.AT_NEXT_REPORT
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping() is Stopping.NOW
    with pytest.raises(KeyboardInterrupt), run._signals():
        terminated_twice()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_right_after_the_driver_has_ended_is_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_UNHEARD_S", 0.3)

    def terminated_while_delivering(stopping: Callable[[], Stopping]) -> None:
        assert stopping() is Stopping.NO
        terminated_twice()
        time.sleep(60)  # and nobody asks any more

    with pytest.raises(KeyboardInterrupt), run._signals() as stopping:
        terminated_while_delivering(stopping)


def test_the_time_of_a_comparison_is_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of half an hour leaves ``compare --timeout 10m`` its ten minutes."""
    state = Story().begin().search(6).state
    state.wall_s = 1_800.0
    given: list[float | None] = []

    def study_of(settings: Settings, *_: object, **__: object) -> None:
        given.append(settings.timeout_s)
        raise StudyError("as far as this goes")

    monkeypatch.setattr(study, "read", lambda *_: state)
    monkeypatch.setattr(compare, "study_of", study_of)
    monkeypatch.setattr(study, "plan", lambda _: None)
    for limit in (600.0, None):
        with pytest.raises(StudyError, match="as far"):
            compare.compare(replace(settings, study="s", timeout_s=limit), 3, 6, quiet=True, console=Console())
    assert given == [2_400.0, None]


def test_a_report_sends_to_compare_until_that_was_done(settings: Settings) -> None:
    story = Story().begin().lab().search(6)
    told = lines(closing.of_report(settings, story.state, Path("a.html"), Path("a.md")))
    assert after(told, "Look:") == ["a.html", "a.md"]
    assert after(told, "Next:") == ["python -m fmnist_sweep compare"]
    story.compare(1, 2)
    assert "Next:" not in lines(closing.of_report(settings, story.state, Path("a.html"), Path("a.md")))


def test_equal_scores_are_called_equal() -> None:
    state = Story().begin().lab().search(6).state
    rival = max(state.of_kind("lab"), key=lambda job: job.best or 0.0)
    state = with_best(state, state.ranked()[0].key, rival.best or 0.0)
    assert "as has the best of the lab's nets" in conclusion.found(state)


def test_the_doctor_is_to_look_again_where_it_looked(settings: Settings) -> None:
    elsewhere = replace(settings, tracking_uri="http://team:5000", storage="postgresql://u:canary@db/x")
    line = closing.command_of("doctor --fix", elsewhere, "mine")
    assert line.endswith(" --study mine --tracking-uri http://team:5000 --storage 'postgresql://u:***@db/x'")


@pytest.mark.parametrize("quiet", [True, False])
def test_why_an_exit_code_is_not_0_is_said_in_any_case(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    closing.insist(Console(stderr=True, quiet=quiet), "error: [odd] format refused")
    assert capsys.readouterr() == ("", "error: [odd] format refused\n")
