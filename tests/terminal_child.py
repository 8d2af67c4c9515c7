"""What a terminal sees of a running study, for ``test_terminal``: its display, fed with a story, until Ctrl-C."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from fmnist_sweep import pruning
from fmnist_sweep.commands import run
from fmnist_sweep.state import StudyState
from tests.report_stand_ins import Story, curve, proposals


def story(training: int = 2) -> Story:
    """A study in mid-course: the lab's nets, six trials, and some more that train."""
    told = Story().begin().lab().search(6)
    for number, (arch, train, drawn) in enumerate(proposals(training, 6), start=6):
        key, points = f"trial-{number:04d}", pruning.report_points(train.epochs, (0.5,))
        told.ask(key, "trial", number, arch, train, drawn, points)
        told.tell("started", key, 1)
        for report in curve(arch, train, points)[:2]:
            told.tell("report", key, report.place, **report.body)
    return told


def main() -> None:
    """Shows it as ``run`` does, says so on standard output, and waits."""
    display, state = run.display(Console(stderr=True), 50, quiet=False), StudyState()
    try:
        for event in story().events:
            state.apply(event)
            display.watch(state, event)
        display.say("a line for people")
        for _ in range(8):  # as a driver does while nothing happens
            time.sleep(0.25)
            display.watch(state, None)
        if sys.stdin.isatty():
            sys.stdin.readline()
    except KeyboardInterrupt:
        pass
    finally:
        display.close()


if __name__ == "__main__":
    main()
