"""What the ledger keeps of each net on the test set."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep.scores import TestScore, mistakes, packed, packed_classes
from fmnist_sweep.state import StudyState
from tests.final_stand_ins import searched


def test_which_images_are_right_survives_the_ledger() -> None:
    hits = np.random.default_rng(0).uniform(size=10_003) < 0.9
    found = TestScore(0.9, 0.3, len(hits), packed(hits), 1.0, 9.0).hits()
    assert np.array_equal(found, hits)


def test_which_class_each_image_gets_survives_the_ledger_and_old_ledgers_have_none(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 10, 10_003).astype(np.uint8)
    score = TestScore(0.9, 0.3, len(classes), "", 1.0, 9.0, packed_classes(classes))
    assert np.array_equal(score.classes(), classes)  # type: ignore[arg-type]
    old = {name: value for name, value in asdict(score).items() if name != "predicted"}
    ledger = searched(tmp_path)
    ledger.append("tested", "trial-0000", 0, **old)
    ledger.append("test_set", labels=packed_classes(classes % 3))
    state = StudyState.of(ledger.events())
    assert state.jobs["trial-0000"].tested == replace(score, predicted="")
    assert replace(score, predicted="").classes() is None
    assert np.array_equal(state.test_labels(), classes % 3)  # type: ignore[arg-type]
    assert StudyState().test_labels() is None


def test_mistakes_are_what_most_runs_get_wrong_the_surest_first() -> None:
    labels = np.array([0, 0, 0, 0, 1], np.uint8)
    runs = np.zeros((3, 5, 3))
    runs[:, 0] = [0.9, 0.1, 0.0]  # right
    runs[:, 1] = [0.2, 0.8, 0.0]  # wrong under all seeds
    runs[:, 2] = [0.1, 0.0, 0.9]  # likewise, and surer
    runs[0, 3], runs[1:, 3] = [0.3, 0.7, 0.0], [0.6, 0.4, 0.0]  # wrong once
    runs[0, 4], runs[1, 4], runs[2, 4] = [0.7, 0.3, 0.0], [0.1, 0.4, 0.5], [0.2, 0.6, 0.2]  # wrong twice, each its way
    found = mistakes(list(runs), labels)
    assert [(it.index, it.label, it.predicted, it.votes) for it in found] == [(2, 0, 2, 3), (1, 0, 1, 3), (4, 1, 0, 1)]
    assert [it.probability for it in found] == pytest.approx([0.9, 0.8, 1.0 / 3])
    assert mistakes(list(runs), labels, most=1) == found[:1]
