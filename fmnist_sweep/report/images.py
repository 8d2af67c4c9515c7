"""The test set, image by image: what the leader takes for what, what it gets wrong, what duplicates change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmnist_sweep.report.parts import Missing, counted, finals_of
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState

SHOWN = 48


@dataclass(frozen=True, slots=True)
class Mixed:
    """Images of one class that are taken for another's; ``share`` of those of the class, 0 to 1."""

    label: str
    predicted: str
    share: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """What a net takes for what.

    Attributes:
        net: Its name.
        seeds: Over which the shares are means.
        classes: Names, by label.
        shares: By label and prediction, of the images of the label, 0 to 1; each row adds up to 1, or 0 without any.
        mixed: What is most often mixed up, worst first.
    """

    net: str
    seeds: int
    classes: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    mixed: tuple[Mixed, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image of the test set that a net gets wrong.

    Attributes:
        index: In the test set.
        label: What it is, by name.
        predicted: What it is taken for.
        votes: Seeds under which it is taken for that.
        probability: Given to the wrong class, 0 to 1, the mean of the seeds.
        png: The image, Base64.
    """

    index: int
    label: str
    predicted: str
    votes: int
    probability: float
    png: str


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The images that a net gets wrong.

    Attributes:
        net: Its name.
        seeds: That it was trained under.
        shown: The worst of them.
    """

    net: str
    seeds: int
    shown: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class Apart:
    """A net's mean test accuracy, a fraction, with and without the duplicates."""

    name: str
    all_images: float
    without: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Results without the test images that have a duplicate, or nearly one, in the training images.

    Attributes:
        images: Test images left out.
        exact: Of them, those with an exact duplicate.
        method: How they were found, for people.
        nets: The accuracies.
        changed: Pairs whose verdict is another one without them, as sentences.
        pairs: Pairs judged.
    """

    images: int
    exact: int
    method: str
    nets: tuple[Apart, ...]
    changed: tuple[str, ...]
    pairs: int


def classes_of(state: StudyState) -> tuple[str, ...]:
    """Names of the classes, by label; none where the ledger does not hold them."""
    return tuple(state.study.get("data_set", {}).get("classes", ()))


def confusion(state: StudyState, findings: Findings) -> Confusion | Missing:
    """Of the leader, all its seeds together."""
    names, labels = classes_of(state), state.test_labels()
    tested = [job.tested for job in finals_of(state, findings.leader, findings.seeds) if job.tested is not None]
    found = [it for it in (score.classes() for score in tested) if it is not None]
    if labels is None or not found or not names:
        return Missing("This ledger holds which test images each net gets right, but not what it takes the others for.")
    counts = np.zeros((len(names), len(names)))
    for predicted in found:
        np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = shares - np.diag(np.diag(shares))
    worst = [divmod(int(place), len(names)) for place in np.argsort(-off, axis=None)[:3]]
    return Confusion(
        net=findings.leader,
        seeds=len(found),
        classes=names,
        shares=tuple(tuple(float(share) for share in row) for row in shares),
        mixed=tuple(Mixed(names[a], names[b], float(off[a, b])) for a, b in worst if off[a, b] > 0),
    )


def mistakes(state: StudyState, findings: Findings) -> Mistakes | Missing:
    """The images that the leader gets wrong, those that most seeds do first, then by how sure it is."""
    held = state.mistakes
    names = classes_of(state)
    if not held or not held["images"] or not names:
        return Missing("This ledger holds no images that the leader gets wrong.")
    if held["net"] != findings.leader:
        return Missing(f"The images in this ledger are those that {held['net']} gets wrong, which led before.")
    images = sorted(held["images"], key=lambda it: (-it["votes"], -it["probability"], it["index"]))
    shown = [
        Mistake(it["index"], names[it["label"]], names[it["predicted"]], it["votes"], it["probability"], it["png"])
        for it in images[:SHOWN]
    ]
    return Mistakes(held["net"], held["seeds"], tuple(shown))


def duplicates(state: StudyState, findings: Findings) -> Duplicates | Missing:
    """The finals judged again on the test images that have no duplicate in the training images."""
    held, again = state.duplicates, findings.without_duplicates
    if held is None:
        return Missing("Which test images have a duplicate among the training images is not known for this study.")
    if not held["test"]:
        return Missing(f"No test image has a duplicate among the training images ({held['method']}).")
    if again is None:
        left = f"{counted(len(held['test']), 'test image')} have a duplicate or are one among the training images"
        return Missing(f"{left} ({held['method']}): too few are left without them to judge anything by.")
    return Duplicates(
        images=len(held["test"]),
        exact=held["exact"],
        method=held["method"],
        nets=tuple(
            Apart(it.contender.name, it.mean, it.accuracy_without_duplicates)
            for it in findings.standings
            if it.accuracy_without_duplicates is not None
        ),
        changed=tuple(
            f"{old.a} beside {old.b}: {new.verdict} without them, {old.verdict} with them"
            for old, new in findings.changed
        ),
        pairs=len(again),
    )
