"""The last lines of a command: what was found, how sure that is, where to look, what to type next."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fmnist_sweep.addresses import masked
from fmnist_sweep.conclusion import found, sure, unjudged
from fmnist_sweep.ending import Outcome
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState

PROGRAM = "python -m fmnist_sweep"
_TAKES = {
    "compare": ("--tracking-uri", "--data-dir"),
    "doctor --fix": ("--tracking-uri", "--storage", "--data-dir"),
    "export": ("--data-dir",),
    "ui": ("--tracking-uri",),
}
_IN_ENVIRONMENT = {
    "--tracking-uri": "MLFLOW_TRACKING_URI",
    "--storage": "FMNIST_SWEEP_STORAGE",
    "--data-dir": "FMNIST_DATA_DIR",
}
_ENDED: dict[Outcome, str] = {
    "done": "done",
    "flat": "the search is flat",
    "exhausted": "the space has no other configuration",
    "interrupted": "interrupted",
    "timeout": "out of time",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something to type.

    Attributes:
        why: What it is for.
        line: The command, or a file to open.
    """

    why: str
    line: str


@dataclass(frozen=True, slots=True)
class Closing:
    """What a command ends with.

    Attributes:
        found: What came of it.
        sure: How far to trust that.
        look: Where there is more.
        following: What to do now.
    """

    found: str
    sure: str
    look: Sequence[Step]
    following: Sequence[Step]

    def show(self, console: Console) -> None:
        """Prints it, each command on a line of its own."""
        console.print()
        console.print(Text(self.found, style="bold"))
        console.print(Text(self.sure))
        for heading, steps in (("Look:", self.look), ("Next:", self.following)):
            if steps:
                console.print(f"\n{heading}")
            for step in steps:
                console.print(Text(f"  {step.why}", style="dim"))
                console.print(Text(f"    {step.line}"), soft_wrap=True)


def insist(console: Console, line: str) -> None:
    """Prints a line on standard error even where errors alone are asked for: it is why the exit code is not 0."""
    if console.quiet:
        print(line, file=sys.stderr)
    else:
        console.print(Text(line), soft_wrap=True)


def undelivered(trouble: str) -> Text:
    """Why a view is behind, and what to do about it."""
    return Text.assemble(("not delivered:", "bold"), f" {trouble}; the same command delivers it")


def how_it_ended(outcome: Outcome) -> str:
    """In a few words."""
    return _ENDED[outcome]


def command(name: str, settings: Settings, state: StudyState, more: str = "") -> str:
    """A command for the same study, as it is to be typed in the same folder and environment."""
    study = state.study["name"]
    return f"{command_of(name, settings, '' if study == 'default' else study)}{more}"


def command_of(name: str, settings: Settings, study: str) -> str:
    """A command with the options that it needs to find the same things; ``study`` "" is the one it takes by itself."""
    words = [f"{PROGRAM} {name}{at_home(settings)}", *([f"--study {study}"] if study else [])]
    given = {
        "--tracking-uri": settings.tracking_uri,
        "--storage": settings.storage,
        "--data-dir": settings.data_dir and str(settings.data_dir),
    }
    for option, value in given.items():
        if value and option in _TAKES.get(name, ()) and os.environ.get(_IN_ENVIRONMENT[option]) != value:
            words.append(f"{option} {shlex.quote(masked(value))}")
    return " ".join(words)


def at_home(settings: Settings) -> str:
    """The option for the home folder, with a space before it; "" where that is the one that is taken by itself."""
    if settings.home.path.resolve() == Path(os.environ.get("FMNIST_SWEEP_HOME") or "fmnist_runs").resolve():
        return ""
    return f" --home {shlex.quote(str(settings.home.path))}"


def same_command() -> str:
    """The command that was typed, as it goes on with the study: without what would begin it anew, and passwords."""
    return " ".join([PROGRAM, *(shlex.quote(masked(word)) for word in sys.argv[1:] if word != "--fresh")])


def of_search(settings: Settings, state: StudyState, outcome: Outcome) -> Closing:
    """After ``run`` and ``lab``."""
    ranked, goes_on = state.ranked(), []
    if outcome in ("interrupted", "timeout"):
        longer = ", with a longer --timeout" if outcome == "timeout" else ""
        goes_on.append(Step(f"the same command goes on from here{longer}", same_command()))
    elif outcome == "flat":
        goes_on.append(Step("search on all the same", f"{same_command()} --patience 0"))
    look = [
        Step("MLflow: the lab's nets and the best trials side by side", command("ui", settings, state)),
        Step("one page with every chart", command("report", settings, state)),
    ]
    steps = []
    judged = state.compared is not None and unjudged(state) is None
    if ranked and not judged:
        steps.append(compare_step(settings, state))
    if ranked:
        model = " --model champion" if judged else ""
        steps.append(Step("take the best model away", command("export", settings, state, model)))
    return Closing(found(state), sure(state), look if state.jobs else [], [*goes_on, *steps])


def of_report(settings: Settings, state: StudyState, page: Path, beside: Path) -> Closing:
    """After ``report``."""
    look = [Step("the page, for a browser", str(page)), Step("the same facts as Markdown", str(beside))]
    if state.compared is None and state.ranked():
        return Closing(found(state), sure(state), look, [compare_step(settings, state)])
    return Closing(found(state), sure(state), look, [])


def compare_step(settings: Settings, state: StudyState) -> Step:
    """What to type for a verdict."""
    why = "is it better than the lab's nets, or luck? new seeds, the test set, verdicts"
    return Step(why, command("compare", settings, state))


def of_unjudged(state: StudyState) -> Closing:
    """After a ``compare`` that did not come to its end."""
    finals = [job for job in state.of_kind("final") if job.key not in state.left and job.tested is None]
    done = sum(job.state == "complete" for job in finals)
    new = "" if state.compared is None else " new"
    again = "" if state.compared is None else " again"
    return Closing(
        f"{done} of {len(finals)}{new} finals are trained; nothing{new} is judged yet.",
        f"The test set is opened{again} once all of them are.",
        [],
        [Step("the same command goes on from here", same_command())],
    )
