"""``report``: one HTML page and a Markdown file on a study, from its ledger alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_sweep import report, standings, study
from fmnist_sweep.commands import closing
from fmnist_sweep.errors import UsageError
from fmnist_sweep.settings import Settings


def write(settings: Settings, out: Path | None, console: Console) -> dict[str, Any]:
    """Writes the report of a study; see the command line's ``report``.

    Args:
        settings: Which home and study.
        out: The page's file; None for one under home.
        console: For people.

    Raises:
        SweepError: No such study, or the files can't be written.
    """
    if out is not None and out.suffix not in (".html", ".htm"):
        raise UsageError(f"--out is {str(out)!r}; valid: a file that ends in .html")
    if out is not None and not report.may_write_beside(out):
        raise UsageError(f"--out is {str(out)!r}, and {out.with_suffix('.md')} is no report; choose another name")
    name = settings.study or study.plan(settings).name
    state = study.read(settings, name)
    page, beside = report.write_as(out or settings.home.reports / f"{name}.html", state, standings.recorded(state))
    size = page.stat().st_size + beside.stat().st_size
    closing.of_report(settings, state, page, beside).show(console)
    return {"report": str(page), "markdown": str(beside), "bytes": size}
