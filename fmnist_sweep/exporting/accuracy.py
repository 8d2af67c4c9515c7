"""How good an exported model is, and how sure that is: for the manifest and the model card."""

from __future__ import annotations

from typing import Any

import numpy as np

from fmnist_sweep import stats
from fmnist_sweep.counts import wilson
from fmnist_sweep.exporting.checks import Original
from fmnist_sweep.scores import TestScore
from fmnist_sweep.state import JobRecord, StudyState

_CONFUSED = 5


def validation(original: Original, class_names: list[str]) -> dict[str, Any]:
    """Accuracy on the validation images, by class too, and which classes are taken for which."""
    counts = original.confusion
    hits, images = int(np.trace(counts)), int(counts.sum())
    low, high = wilson(hits, images)
    wrong = [
        {"is": class_names[true], "taken_for": class_names[guess], "images": int(counts[true, guess])}
        for true, guess in zip(*np.nonzero(counts), strict=True)
        if true != guess
    ]
    return {
        "accuracy": hits / images,
        "low": low,
        "high": high,
        "images": images,
        "by_class": {
            name: float(counts[place, place] / counts[place].sum())
            for place, name in enumerate(class_names)
            if counts[place].sum()
        },
        "confused": sorted(wrong, key=lambda pair: -pair["images"])[:_CONFUSED],
        "inverted_accuracy": original.inverted,
    }


def test(state: StudyState, job: JobRecord) -> dict[str, Any]:
    """What the finals found on the test set.

    Returns:
        ``weights``: of these very weights, where they are a final's; ``net``: of the net and recipe, trained anew under
        the seeds of the finals: the mean, with an interval over seeds and images. None where there is no such thing.
    """
    recipe = job.train.with_seed(0)
    judged = {
        final.train.seed: final.tested
        for final in state.of_kind("final")
        if final.tested is not None and final.arch == job.arch and final.train.with_seed(0) == recipe
    }
    return {
        "weights": None if job.tested is None else _one(job.tested),
        "net": _mean(judged) if len(judged) > 1 else None,
    }


def _one(score: TestScore) -> dict[str, Any]:
    low, high = wilson(int(score.hits().sum()), score.images)
    return {"accuracy": score.accuracy, "low": low, "high": high, "images": score.images}


def _mean(judged: dict[int, TestScore]) -> dict[str, Any]:
    correct = np.stack([score.hits() for score in judged.values()])  # (seeds, images)
    found = stats.accuracy_interval(correct)
    by_seed = {str(seed): score.accuracy for seed, score in judged.items()}
    return {
        "accuracy": found.estimate,
        "low": found.low,
        "high": found.high,
        "images": correct.shape[1],
        "by_seed": by_seed,
    }
