"""Ledgers of finals that no net was trained for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fmnist_sweep import finals, lab, standings
from fmnist_sweep.arch import fingerprint
from fmnist_sweep.finals import Contender
from fmnist_sweep.lab import Variant
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.pruning import report_points
from fmnist_sweep.scores import TestScore, packed
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialResult
from tests import stand_ins

IMAGES = 2_000


SEEDS = tuple(range(1, 9))


BEST_SEED = 5


def variants() -> list[Variant]:
    return lab.variants(input_shape=stand_ins.SHAPE, classes=stand_ins.CLASSES)


def searched(folder: Path) -> Ledger:
    """A study with three complete trials."""
    ledger = Ledger(folder / "ledger.db")
    ledger.append("study", name="study", seed=0)
    for number, proposal in enumerate(stand_ins.proposals()[:3]):
        key = f"trial-{number:04d}"
        ledger.append("asked", key, 0, **stand_ins.asked(number, proposal))
        end(ledger, key, 0.8 + 0.01 * number)
    return ledger


def end(ledger: Ledger, key: str, accuracy: float) -> None:
    result = TrialResult(3.0, 3.0, accuracy, 6.0, 120, "sha")
    ledger.append("ended", key, 0, state="complete", result=asdict(result))


def finish(
    ledger: Ledger, nets: list[Contender], accuracy: Mapping[str, float], validation: Mapping[str, float] | None = None
) -> None:
    """Trains and tests every final, with the given accuracy on the test set and, by default, in validation too.

    Validation is a little lower under all seeds but ``BEST_SEED``.
    """
    for extra in finals.extras(nets, SEEDS):
        name, seed = extra.key.removeprefix("final-").rsplit("-seed", 1)
        rng = np.random.default_rng([int(seed), zlib.crc32(name.encode())])
        hits = rng.uniform(size=IMAGES) < accuracy[name]
        ledger.append(
            "asked",
            extra.key,
            0,
            kind="final",
            number=-1,
            arch=extra.arch.to_dict(),
            train=extra.train.to_dict(),
            drawn={},
            fingerprint=fingerprint(extra.arch, extra.train),
            report_at=report_points(extra.train.epochs, ()),
        )
        val_accuracy = (validation or accuracy)[name] - (0.0 if int(seed) == BEST_SEED else 0.001)
        last = Report(1, float(extra.train.epochs), 0.2, 0.9, 0.3, val_accuracy, 4.0, 80)
        ledger.append("report", extra.key, last.place, **last.body)
        end(ledger, extra.key, val_accuracy)
        tested = TestScore(float(hits.mean()), 0.3, IMAGES, packed(hits), 1.0, 9.0)
        ledger.append("tested", extra.key, 0, **asdict(tested))


def judged(ledger: Ledger, nets: list[Contender]) -> tuple[Findings, StudyState]:
    state = StudyState.of(ledger.events())
    return standings.judge(state, nets, SEEDS), state
