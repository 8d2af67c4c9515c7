"""A visit to one study: look, mend, look again; only what the second look no longer finds is fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from fmnist_sweep.doctor.files import home_agrees
from fmnist_sweep.doctor.findings import Finding, Mend
from fmnist_sweep.doctor.look import Look, look
from fmnist_sweep.doctor.mend import Mender, remove
from fmnist_sweep.errors import StudyError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.settings import Settings

_ROUNDS = 4  # a repair may bring to light what it hid


@dataclass(frozen=True, slots=True)
class Checked:
    """A finding after everything was done.

    Attributes:
        finding: What was found.
        fixed: Whether a second look no longer found it.
        why_not: Why mending failed, if it did.
    """

    finding: Finding
    fixed: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of a visit.

    Attributes:
        checked: All that was found, in order.
        last: The last look.
        in_use: Whether a driver is at work on the study, so that it was only looked at.
    """

    checked: tuple[Checked, ...]
    last: Look
    in_use: bool = False


def visit(settings: Settings, name: str, *, fix: bool, say: Callable[[str], None]) -> Visit:
    """Checks one study, and with ``fix`` mends what can be mended.

    Args:
        settings: Which home, MLflow and storage.
        name: The study's.
        fix: Whether to mend.
        say: Told what takes time.
    """
    folder = settings.home.study(name)
    if not fix:
        in_use = folder.in_use
        found = look(settings, name, live=in_use)
        return Visit(tuple(Checked(finding) for finding in found.findings), found, in_use)
    try:
        with folder.locked():
            return _mended(settings, name, say)
    except StudyError:
        found = look(settings, name, live=True)
        refused = Finding("in use", "a driver is at work on it, so nothing was mended", advice="wait for it to end")
        return Visit(tuple(Checked(finding) for finding in [refused, *found.findings]), found, in_use=True)


def visit_home(home: Home, *, fix: bool) -> tuple[Checked, ...]:
    """Checks what belongs to no study, and with ``fix`` mends it."""
    found = list(home_agrees(home))
    if fix:
        for finding in found:
            if finding.mend is not None:
                with suppress(OSError):
                    remove(finding.mend.target)
    left = set(home_agrees(home))
    return tuple(Checked(finding, finding not in left) for finding in found)


def _mended(settings: Settings, name: str, say: Callable[[str], None]) -> Visit:
    first = found = look(settings, name, live=False)
    every, failed = list(found.findings), dict[Mend, str]()
    for _ in range(_ROUNDS):
        wanted = [finding.mend for finding in found.findings if finding.mend and finding.mend not in failed]
        if found.record is None or not wanted:
            break
        say(f"{name}: mending")
        ledger = Ledger(settings.home.study(name).ledger)
        try:
            failed |= Mender(found.settings, name, ledger, found).mend(wanted)
        finally:
            ledger.close()
        found = look(settings, name, live=False)
        every += [finding for finding in found.findings if finding not in every]
    unseen = any(getattr(first, part) and not getattr(found, part) for part in ("record", "mlflow", "optuna"))
    return Visit(tuple(_checked(every, found.findings, failed, unseen)), found)


def _checked(every: Iterable[Finding], left: list[Finding], failed: dict[Mend, str], unseen: bool) -> Iterable[Checked]:
    """What became of each finding.

    Args:
        every: All that was found.
        left: What the last look found.
        failed: Why repairs failed.
        unseen: Whether the last look could not read what the first one did, and so says nothing of it.
    """
    for finding in every:
        there = finding in left or (unseen and finding.mend is not None)
        why = failed.get(finding.mend, "it could not be looked at again" if unseen else "") if finding.mend else ""
        yield Checked(finding, not there, why if there else "")
