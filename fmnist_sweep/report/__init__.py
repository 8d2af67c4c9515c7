"""A study's report: one HTML page that opens anywhere, and the same facts as Markdown, from the ledger alone."""

from __future__ import annotations

from pathlib import Path

from fmnist_sweep import durable
from fmnist_sweep.errors import HomeError
from fmnist_sweep.home import checked_name
from fmnist_sweep.report import page, text
from fmnist_sweep.report.facts import gather
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState


def html(state: StudyState, findings: Findings | None) -> str:
    """The report as one HTML page without anything outside it.

    Args:
        state: Of the study.
        findings: Of the finals; None where they were not run.
    """
    return page.render(gather(state, findings))


def markdown(state: StudyState, findings: Findings | None) -> str:
    """The report as Markdown; see ``html``."""
    return text.render(gather(state, findings))


def write(folder: Path, state: StudyState, findings: Findings | None) -> tuple[Path, Path]:
    """Writes both as ``STUDY.html`` and ``STUDY.md``.

    Returns:
        The two files.

    Raises:
        HomeError: They can't be written.
        UsageError: The study's name is none for a file.
    """
    return write_as(folder / f"{checked_name('--study', state.study['name'])}.html", state, findings)


def may_write_beside(file: Path) -> bool:
    """Whether the Markdown beside the page ``file`` would take nothing but an older report's place."""
    beside = file.with_suffix(".md")
    try:
        lines = beside.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return len(lines) > 2 and lines[0].startswith("# ") and lines[2].startswith("Study ")


def write_as(file: Path, state: StudyState, findings: Findings | None) -> tuple[Path, Path]:
    """Writes the page as ``file`` and the Markdown beside it; see ``write``."""
    facts = gather(state, findings)
    beside = file.with_suffix(".md")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(file, page.render(facts).encode())
        durable.write(beside, text.render(facts).encode())
    except OSError as error:
        raise HomeError(f"{file} can't be written: {error.strerror or error}") from None
    return file, beside
