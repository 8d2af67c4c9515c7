"""A benchmark's result: figures for programs, tables for people, and where all of it was measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import Record
from fmnist_sweep import durable

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Table:
    """A table in words and numbers; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [f"### {self.title}", "", _row(self.columns), _row(("---", *["---:"] * (len(self.columns) - 1)))]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found.

    Attributes:
        name: Of the benchmark.
        about: What was measured, and how, in a few sentences.
        figures: For programs; plain JSON types.
        tables: For people.
        lines: More for people, below the tables.
        quick: Whether it was a quick run, whose figures mean nothing.
    """

    name: str
    about: str
    figures: dict[str, Any]
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = field(default_factory=tuple)
    quick: bool = False

    def markdown(self, record: Record) -> str:
        """Everything in Markdown."""
        quick = ["**A quick run: it shows that all works; its figures mean nothing.**"] if self.quick else []
        parts = [f"## {self.name}", *quick, self.about, *(table.markdown() for table in self.tables), *self.lines]
        return "\n\n".join([*parts, _where(record)]) + "\n"


def publish(folder: Path, result: Result, record: Record) -> str:
    """Writes ``NAME.json`` and ``NAME.md``, and returns the Markdown."""
    text = result.markdown(record)
    whole = {
        "benchmark": result.name,
        "quick": result.quick,
        "about": result.about,
        **record.head,
        "commits": record.commits,
        "measured": [record.moments[place]["at"] for place in (0, -1)] if record.moments else [],
        "load": [moment["load"] for moment in record.moments],
        "figures": result.figures,
    }
    durable.write(folder / f"{result.name}.json", (json.dumps(whole, indent=2, sort_keys=True) + "\n").encode())
    durable.write(folder / f"{result.name}.md", text.encode())
    return text


def _where(record: Record) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record.head["versions"].items())
    loads = [moment["load"] for moment in record.moments]
    when = f", {record.moments[0]['at']} to {record.moments[-1]['at']}" if record.moments else ""
    load = f", load average {min(loads):g} to {max(loads):g}" if loads else ""
    settings = ", ".join(f"{name} {value}" for name, value in record.head["settings"].items())
    given = ", ".join(f"{name}={value}" for name, value in record.head["environment"].items()) or "as it comes"
    by_commit = record.by_commit()
    commits = ", ".join(by_commit) or "unknown"
    if len(by_commit) > 1:
        commits = "; ".join(f"{commit}: {_some(keys)}" for commit, keys in by_commit.items())
    return (
        f"Measured on {record.head['machine']} ({record.head['usable_cores']} cores usable){when}{load}; "
        f"commit {commits} (+: with changes); {versions}; TensorFlow's settings: {given}. Settings: {settings}."
    )


def _some(keys: list[str]) -> str:
    return ", ".join(keys) if len(keys) <= _SHOWN else f"{', '.join(keys[:_SHOWN])} and {len(keys) - _SHOWN} more"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
