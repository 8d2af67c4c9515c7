"""Measurements as they come, one JSON object a line: an interrupted benchmark goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine


class Record:
    """The measurements of one benchmark.

    A file of other settings, another machine or other versions is put aside, with the benchmark's folder beside it, and
    never mixed with new measurements.

    Args:
        path: The file.
        settings: What is measured; not how often.
        fresh: Whether to put an old file aside in any case.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.path = path
        self.head = {"settings": json.loads(json.dumps(settings)), **machine.setup()}
        self._found: dict[str, dict[str, Any]] = {}
        self._commit: dict[str, str] = {}
        self.moments: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = list(read_lines(path))
        if lines and (fresh or lines[0] != self.head):
            aside = f"{path.stem}-until-{time.strftime('%Y%m%d-%H%M%S')}"
            for old in (path, path.with_suffix("")):  # what was trained there would be taken for new
                if old.exists():
                    old.rename(old.with_name(f"{aside}{old.suffix}"))
            lines = []
        if not lines:
            path.unlink(missing_ok=True)
            append_line(path, self.head)
        for line in lines[1:]:
            self._take(line)

    def once(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured under ``key``, now or earlier."""
        return self._found[key] if key in self._found else self.add(key, measure())

    def known(self, key: str) -> dict[str, Any] | None:
        """What was measured under ``key``, if it was."""
        return self._found.get(key)

    def add(self, key: str, found: dict[str, Any]) -> dict[str, Any]:
        """Keeps a measurement durably, with the moment it ended at."""
        line = {"key": key, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **machine.moment(), "found": found}
        append_line(self.path, line)
        self._take(json.loads(json.dumps(line)))
        return self._found[key]

    def _take(self, line: dict[str, Any]) -> None:
        self._found[line["key"]] = line["found"]
        self._commit[line["key"]] = _named(line)
        self.moments.append({name: line[name] for name in ("at", "commit", "changed", "load")})

    def by_commit(self) -> dict[str, list[str]]:
        """What was measured last of each commit, by its name as in ``commits``."""
        found: dict[str, list[str]] = {}
        for key, commit in self._commit.items():
            found.setdefault(commit, []).append(key)
        return found

    @property
    def commits(self) -> list[str]:
        """The commits that were measured, each with a plus sign where the code differed from it."""
        return sorted({_named(line) for line in self.moments})


def _named(line: Mapping[str, Any]) -> str:
    return f"{line['commit']}{'+' if line['changed'] else ''}"


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Writes one line, which is on disk when this returns; a torn line before it is ended first."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        torn = size and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(value, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; one that a crash cut short is left out."""
    if not path.exists():
        return
    for text in path.read_bytes().splitlines():
        try:
            yield json.loads(text)
        except ValueError:
            continue
