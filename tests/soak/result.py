"""What a soak came to: for programs and for people."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmnist_sweep import durable
from tests.soak.faults import KINDS
from tests.soak.sweep import Struck


@dataclass(slots=True)
class SoakResult:
    """All rounds of one soak.

    Attributes:
        seed: Of the faults.
        struck: The faults, in order.
        studies: Studies that were run to their end.
        trials: Trials in them.
        starts: How often the command was given.
        comparisons: Figures and facts compared one by one, the doctor's whole look counted as one.
        models: Kept models that were loaded from the home folder and from MLflow.
        litter: Half-written files and models of killed processes that ``doctor --fix`` cleared away.
        violations: What must not be, in words.
        wall_s: Seconds it took.
        home: Where all of it lies; "" where it was removed.
    """

    seed: int
    struck: list[Struck] = field(default_factory=list)
    studies: int = 0
    trials: int = 0
    starts: int = 0
    comparisons: int = 0
    models: int = 0
    litter: int = 0
    violations: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    home: str = ""

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each target got each kind of fault."""
        return Counter((it.fault.target, it.fault.kind) for it in self.struck)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        names = (
            "seed",
            "studies",
            "trials",
            "starts",
            "comparisons",
            "models",
            "litter",
            "violations",
            "wall_s",
            "home",
        )
        counts = [{"target": target, "kind": kind, "count": count} for (target, kind), count in self.counts().items()]
        return {
            "rounds": len(self.struck),
            **{name: getattr(self, name) for name in names},
            "faults": counts,
            "moments": [it.to_dict() for it in self.struck],
        }

    def markdown(self) -> str:
        """For people."""
        counts = self.counts()
        lines = ["| hit | signals | times |", "| --- | --- | ---: |"]
        for target in KINDS:
            lines += [f"| {who} | {kind} | {counts[who, kind]} |" for who, kind in sorted(counts) if who == target]
        said = (
            f"{len(self.struck)} faults (seed {self.seed}) in {self.studies} studies of {self.trials} trials in all, "
            f"the command given {self.starts} times, {self.wall_s / 60:.0f} minutes. {self.comparisons:,} comparisons "
            f"and {self.models} models loaded from both places: {len(self.violations)} violations. Litter of killed "
            f"processes that `doctor --fix` cleared away: {self.litter}."
        )
        wrong = [f"- {what}" for what in self.violations]
        kept = [f"Everything is kept in {self.home}; the moments are in the JSON file."] if self.home else []
        return "\n".join([*lines, "", said, *(["", *wrong] if wrong else []), *(["", *kept] if kept else [])])

    def write(self, path: Path) -> None:
        """Writes the JSON, and beside it the table."""
        durable.write(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())
        durable.write(path.with_suffix(".md"), (self.markdown() + "\n").encode())
