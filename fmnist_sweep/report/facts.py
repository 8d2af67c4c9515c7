"""All that a report tells, as one frozen value, gathered from a study's state and from nothing else."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from fmnist_sweep.conclusion import sure, unjudged
from fmnist_sweep.display import percent
from fmnist_sweep.finals import is_trial
from fmnist_sweep.report.images import Confusion, Duplicates, Mistakes, confusion, duplicates, mistakes
from fmnist_sweep.report.importance import Importances, importances
from fmnist_sweep.report.nets import NetRow, Shrinkage, final_rows, search_rows, shrinkages
from fmnist_sweep.report.origin import Cost, Fact, cost, origin
from fmnist_sweep.report.parts import Missing, counted
from fmnist_sweep.report.search import Search, search
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState

NO_FINALS = Missing(
    "The differences between pairs with their intervals, the lab's three claims, what the leader gets wrong, how far "
    "scores shrink under other seeds, and the results without duplicate images need the finals."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, before anything else.

    Attributes:
        sentence: The verdict, or that there is none yet.
        beside: What belongs to it, one sentence each.
        command: What to type to get further; "" where nothing is left to do.
    """

    sentence: str
    beside: tuple[str, ...]
    command: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report tells; parts that can't be shown are ``Missing``.

    Attributes:
        study: Name of the study.
        title: What its sweep is for.
        verdict: See ``Verdict``.
        rows: The table of nets.
        twins: Names that stand for one net, one sentence each, where the table has it once.
        findings: Of the finals; None where they were not run.
        search: What the search tried.
        importances: Of the settings.
        confusion: Of the leader.
        mistakes: Of the leader.
        shrinkages: Of the nets in the finals.
        duplicates: The finals without duplicates.
        cost: Of everything.
        origin: Seeds, versions, machine and so on.
    """

    study: str
    title: str
    verdict: Verdict
    rows: tuple[NetRow, ...]
    twins: tuple[str, ...]
    findings: Findings | None
    search: Search
    importances: Importances | Missing
    confusion: Confusion | Missing
    mistakes: Mistakes | Missing
    shrinkages: tuple[Shrinkage, ...]
    duplicates: Duplicates | Missing
    cost: Cost
    origin: tuple[Fact, ...]


def gather(state: StudyState, findings: Findings | None) -> Facts:
    """Reads everything once.

    Args:
        state: Of the study.
        findings: Of the finals; None where they were not run.
    """
    finalists = [] if findings is None else [it.contender.name for it in findings.standings]
    rows = search_rows(state) if findings is None else final_rows(state, findings)
    spent = cost(state)
    return Facts(
        study=state.study.get("name", ""),
        title=state.study.get("title", ""),
        verdict=_no_finals(state, rows, spent) if findings is None else _judged(state, findings, rows),
        rows=rows,
        twins=()
        if findings is None
        else tuple(f"{name} is {twin}, the same net" for name, twin in findings.twins.items()),
        findings=findings,
        search=search(state, [name for name in finalists if is_trial(name)]),
        importances=importances(state),
        confusion=NO_FINALS if findings is None else confusion(state, findings),
        mistakes=NO_FINALS if findings is None else mistakes(state, findings),
        shrinkages=() if findings is None else shrinkages(state, findings),
        duplicates=NO_FINALS if findings is None else duplicates(state, findings),
        cost=spent,
        origin=origin(state, findings),
    )


def _judged(state: StudyState, findings: Findings, rows: tuple[NetRow, ...]) -> Verdict:
    leader = next(row for row in rows if row.name == findings.leader)
    times = "once" if findings.openings == 1 else f"{findings.openings} times"
    champion = (state.compared or {}).get("champion")
    crowned = (
        [f"Champion: {champion['name']}, its model of seed {champion['seed']}: {champion['why']}."] if champion else []
    )
    outdated = unjudged(state) is not None
    return Verdict(
        f"{findings.sentence}.",
        (
            *([sure(state)] if outdated else []),
            *(f"{net['name']} diverged in the finals, so it is not judged." for net in _left_out(state)),
            *crowned,
            f"{leader.name} is {leader.net}: {percent(leader.accuracy)} of the test images right "
            f"({_interval(leader)}), with {counted(leader.parameters, 'parameter')}.",
            "It leads the finalists by validation. All nets were trained anew on "
            f"{counted(state.study['train_images'], 'image')}, under the same {counted(len(findings.seeds), 'seed')}; "
            f"the test set was opened {times} for this study.",
        ),
        _compare(state) if outdated else "",
    )


def _left_out(state: StudyState) -> list[dict[str, Any]]:
    return list((state.compared or {}).get("left_out", ()))


def _compare(state: StudyState) -> str:
    return f"python -m fmnist_sweep compare --study {shlex.quote(state.study['name'])}"


def _interval(row: NetRow) -> str:
    return "no interval" if row.low is None or row.high is None else f"95 % interval {between(row.low, row.high)}"


def between(low: float, high: float) -> str:
    """Two fractions in percent, as in ``91.52 to 92.10``."""
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _no_finals(state: StudyState, rows: tuple[NetRow, ...], spent: Cost) -> Verdict:
    begun = [job for job in state.of_kind("final") if job.state == "complete"]
    beside = [_standing(rows)] if any(row.accuracy is not None for row in rows) else []
    if spent.unfinished:
        beside.append(f"{counted(spent.unfinished, 'trial has', 'trials have')} not ended yet.")
    if not state.ranked():
        return Verdict(_nothing(state, spent), tuple(beside))
    if begun:
        beside.append(
            f"Finals were begun: {counted(len(begun), 'training')} ended; the same command goes on with them."
        )
    return Verdict(
        "No finals yet: this is a search, one seed each.",
        (*beside, "The best of many noisy scores looks better than it is: a few tenths of a point may be luck."),
        _compare(state),
    )


def _nothing(state: StudyState, spent: Cost) -> str:
    if not state.jobs:
        return "Nothing was trained in this study yet."
    if not spent.trials:
        return "The lab's nets alone: nothing was searched, so there is no verdict."
    if spent.unfinished:
        return "No verdict yet: no trial has been trained in full so far."
    return "No verdict: no trial of this study was trained in full."


def _standing(rows: tuple[NetRow, ...]) -> str:
    ours = next((row for row in rows if not row.lab and row.accuracy is not None), None)
    lab = next((row for row in rows if row.lab and row.accuracy is not None), None)
    told = [f"{row.name} with {percent(row.accuracy)}" for row in (ours, lab) if row is not None]
    what = "The best trial and the best of the lab's nets" if len(told) > 1 else "The best net"
    return f"{what} on the validation images: {', '.join(told)}."
