"""``doctor``: checks ledger, files, MLflow and Optuna's storage against each other, and mends what it can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fmnist_sweep.commands import closing
from fmnist_sweep.commands.closing import Closing, Step
from fmnist_sweep.doctor import Checked, Visit, visit, visit_home
from fmnist_sweep.doctor.look import Look
from fmnist_sweep.doctor.words import count
from fmnist_sweep.errors import StudyError, UsageError
from fmnist_sweep.settings import Settings

OPEN = 1


@dataclass(frozen=True, slots=True)
class Told:
    """What the command found: its exit code, and the object for ``--json``."""

    code: int
    result: dict[str, Any]


def doctor(settings: Settings, *, fix: bool, console: Console) -> Told:
    """Checks one study, or all of the home folder; see the command line's ``doctor``.

    Raises:
        StudyError: There is no study of that name.
    """
    names = [settings.study] if settings.study else _studies(settings)
    if settings.study:
        settings.home.study(settings.study)  # which refuses what can be no name
    if settings.study and settings.study not in _studies(settings):
        known = ", ".join(_studies(settings)) or "none yet"
        raise StudyError(f"--study {settings.study!r}: no such study in {settings.home.path}; there: {known}")
    if not names:
        console.print(f"no study in {settings.home.path} yet: nothing to check", highlight=False, soft_wrap=True)
        return Told(0, {"findings": []})
    console.print("reading MLflow, which takes some seconds")
    visits: dict[str, Visit] = {}
    for name in names:
        visits[name] = visit(settings, name, fix=fix, say=lambda line: console.print(line, highlight=False))
        _show(console, name, visits[name])
    beside = visit_home(settings.home, fix=fix)
    if beside:
        console.print(Text(f"\n{settings.home.path}", style="bold"))
        console.print(_table(beside))
    found = {**{name: visited.checked for name, visited in visits.items()}, "": beside}
    ends = _closing(settings, fix, visits, [checked for each in found.values() for checked in each])
    ends.show(console)
    findings = [_as_json(name, checked) for name, each in found.items() for checked in each]
    code = OPEN if any(not finding["fixed"] for finding in findings) else 0
    if code and console.quiet:
        closing.insist(console, f"error: {ends.found}")
    return Told(code, {"findings": findings})


def _studies(settings: Settings) -> list[str]:
    """Every study's folder, those without a ledger too if anything was trained in them."""
    found = []
    for path in sorted((settings.home.path / "studies").glob("*")):
        with suppress(UsageError):  # a folder that is nobody's study
            folder = settings.home.study(path.name)
            if folder.exists or folder.jobs.exists():
                found.append(path.name)
    return found


def _as_json(study: str, checked: Checked) -> dict[str, Any]:
    finding = checked.finding
    found = {"kind": finding.kind, "what": finding.what, "fixed": checked.fixed, "study": study}
    return found if checked.fixed else {**found, "mendable": finding.mend is not None, "advice": _advice(checked)}


def _advice(checked: Checked) -> str:
    return "; ".join(part for part in (checked.why_not, checked.finding.advice) if part)


def _show(console: Console, name: str, visited: Visit) -> None:
    console.print(Text.assemble((f"\n{name}", "bold"), f"  {_checked_things(visited)}"))
    if visited.in_use:
        console.print("  a driver is at work on it: only what has ended was compared", highlight=False)
    if visited.checked:
        console.print(_table(visited.checked))
    elif visited.last.record is not None:
        console.print("  ledger, files, MLflow and Optuna's storage agree", highlight=False)


def _checked_things(visited: Visit) -> str:
    record = visited.last.record
    if record is None:
        return "nothing to compare"
    jobs = record.state.jobs.values()
    finals, kept = sum(job.kind == "final" for job in jobs), sum(job.kept for job in jobs)
    parts = [count(len(record.state.trials()), "trial"), count(sum(job.kind == "lab" for job in jobs), "lab net")]
    parts += [count(finals, "final")] if finals else []
    waiting = len(record.state.unfinished())
    parts += [count(kept, "kept model")]
    parts += [f"{waiting} unfinished, which the next run goes on with"] if waiting and not visited.in_use else []
    return ", ".join(parts)


def _table(found: Iterable[Checked]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for checked in found:
        advice = _advice(checked)
        what = Text(checked.finding.what)
        if advice and not checked.fixed:
            what.append(f"\n{advice}", style="dim")
        verdict = Text("mended", style="green") if checked.fixed else Text("open", style="yellow")
        table.add_row(verdict, checked.finding.kind, what)
    return Padding(table, (0, 0, 0, 2), expand=False)


def _closing(settings: Settings, fix: bool, visits: Mapping[str, Visit], found: list[Checked]) -> Closing:
    """What was found, what was compared for it, and what to type next."""
    left = [checked for checked in found if not checked.fixed]
    mendable, mended = sum(checked.finding.mend is not None for checked in left), len(found) - len(left)
    if left:
        came_of_it = f"{count(len(found), 'finding')}, {mended} mended, {len(left)} open."
    else:
        came_of_it = f"{count(mended, 'finding')}, all mended." if mended else "Nothing to mend."
    busy = ", ".join(name for name, visited in visits.items() if visited.in_use)
    read = [name for name, visited in visits.items() if _is_whole(visited.last)]
    unread = ", ".join(name for name in visits if name not in read)
    sure = f"Ledger, files, MLflow and Optuna's storage were compared, of {_studies_in_words(read)}." if read else ""
    sure += f" Not everything could be read of {unread}, so not everything was compared." if unread else ""
    sure += f" A driver is at work on {busy}: what runs was left out." if busy else ""
    steps = []
    if mendable and not fix:
        steps.append(
            Step(f"mends {mendable} of {len(left)}", closing.command_of("doctor --fix", settings, settings.study))
        )
    return Closing(came_of_it, sure.strip(), [], steps)


def _is_whole(look: Look) -> bool:
    return None not in (look.record, look.mlflow, look.optuna)


def _studies_in_words(names: Sequence[str]) -> str:
    return f"study {names[0]}" if len(names) == 1 else f"{len(names)} studies"
