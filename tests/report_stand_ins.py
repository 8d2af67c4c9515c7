"""Studies for the report's tests, as events in memory: any number of trials and finals, without training."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fmnist_sweep import arithmetic, config, finals, lab, pruning, space, standings
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.ledger import Event
from fmnist_sweep.schema import Scalar
from fmnist_sweep.scores import TestScore, packed, packed_classes
from fmnist_sweep.space import RandomSuggest
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Report, TrialResult

SHAPE = (28, 28, 1)
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
IMAGES = 2_000
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


class Noted:
    """Random draws that note what was drawn."""

    def __init__(self, seed: int) -> None:
        self._draw = RandomSuggest(seed)
        self.drawn: dict[str, Scalar] = {}

    def choice(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        return self.drawn.setdefault(name, self._draw.choice(name, choices))

    def whole(self, name: str, low: int, high: int, step: int, log: bool) -> int:
        return int(self.drawn.setdefault(name, self._draw.whole(name, low, high, step, log)))

    def real(self, name: str, low: float, high: float, step: float | None, log: bool) -> float:
        return float(self.drawn.setdefault(name, self._draw.real(name, low, high, step, log)))


def talent(arch: ArchSpec) -> float:
    """What a net comes to after five epochs: deeper and wider is better, up to a point."""
    size = math.log10(arithmetic.cost(arch).parameters)
    depth = len(arch.blocks)
    drop = sum(block.dropout for block in arch.blocks) / max(depth, 1)
    averaged = 0.08 if arch.head == "global_average" and depth < 3 else 0.0
    return 0.90 + 0.008 * min(depth, 3) + 0.006 * (size - 5) - 0.03 * drop**2 - averaged


def curve(arch: ArchSpec, train: TrainSpec, points: Sequence[float]) -> list[Report]:
    """Reports that rise to the net's talent, with noise of its own for each seed."""
    rng = np.random.default_rng([train.seed, zlib.crc32(fingerprint(arch, train).encode())])
    end = talent(arch) + rng.normal(0, 0.002)
    found = []
    for place, epoch in enumerate(points):
        share = 1 - 0.12 * math.exp(-epoch)
        val = min(end * share + rng.normal(0, 0.002), 0.999)
        fit = min(end * share + 0.011 * epoch**0.7 - 0.01, 0.999)
        seconds = epoch * (3 + arithmetic.cost(arch).flops / 1.2e6)
        found.append(
            Report(
                place, epoch, 2.6 * (1 - fit), fit, 2.9 * (1 - val) + 0.012 * epoch, val, seconds, int(48_000 * epoch)
            )
        )
    return found


@dataclass(slots=True)
class Story:
    """Events of a study, told one after the other; ``state`` is what they come to."""

    events: list[Event] = field(default_factory=list)
    now: float = 1_760_000_000.0

    def tell(self, kind: str, job: str = "", place: int = 0, /, seconds: float = 0.0, **body: Any) -> None:
        self.now += seconds
        self.events.append(Event(len(self.events) + 1, self.now, kind, job, place, body))

    @property
    def state(self) -> StudyState:
        return StudyState.of(self.events)

    def begin(self, name: str = "default", title: str = "a study for tests", **more: Any) -> Story:
        sweep, read = config.load("default")
        identity: dict[str, Any] = {
            "id": "0" * 32,
            "name": name,
            "sweep": sweep,
            "title": title,
            "seed": 0,
            "config": read.model_dump(mode="json"),
            "train_images": 48_000,
            "data_set": {
                "name": "fashion-mnist",
                "classes": list(CLASSES),
                "files": {"train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d"},
                "training": 48_000,
                "validation": 12_000,
            },
            "versions": {"python": "3.11.7", "tensorflow": "2.21.0"},
            "machine": "a processor, 2 cores, 24 GiB, Linux",
            "git_commit": "c0ffee" * 6,
            "created": self.now,
        }
        self.tell("study", **{**identity, **more})
        self.tell("session", "", 1, target=80)
        return self

    def train(
        self,
        key: str,
        kind: str,
        number: int,
        arch: ArchSpec,
        train: TrainSpec,
        drawn: dict[str, Any],
        upto: float = 99,
    ) -> float:
        """Trains one net up to an epoch; returns its last validation accuracy."""
        points = pruning.report_points(train.epochs, (0.5,) if kind == "trial" else ())
        self.ask(key, kind, number, arch, train, drawn, points)
        self.tell("started", key, 1)
        reports = [report for report in curve(arch, train, points) if report.epoch <= upto]
        for report in reports:
            self.tell("report", key, report.place, seconds=report.train_s / len(reports) / 2, **report.body)
        so_far = asdict(TrialResult.so_far(reports)) | {"peak_bytes": 700_000_000}
        state = "complete" if len(reports) == len(points) else "pruned"
        self.tell("ended", key, 0, state=state, reason="", result=so_far)
        return reports[-1].val_accuracy

    def ask(self, key: str, kind: str, number: int, arch: ArchSpec, train: TrainSpec, drawn: dict[str, Any],
             points: tuple[float, ...], same_as: str = "") -> None:  # fmt: skip
        self.tell("asked", key, 0, kind=kind, number=number, arch=arch.to_dict(), train=train.to_dict(), drawn=drawn,
                  fingerprint=fingerprint(arch, train), report_at=points, same_as=same_as)  # fmt: skip

    def fail(self, key: str, number: int, reason: str) -> None:
        """A trial that failed before its first report."""
        for arch, train, drawn in proposals(1, number):
            self.ask(key, "trial", number, arch, train, drawn, (1.0,))
        self.tell("started", key, 1)
        self.tell("ended", key, 0, state="failed", reason=reason, result=None)

    def search(self, trials: int, full: int = 99) -> Story:
        """``trials`` of the default sweep, those with talent trained in full, ``full`` of them at the most."""
        drawn = list(proposals(trials))
        good = sorted(range(trials), key=lambda place: -talent(drawn[place][0]))[: min(full, max(5, trials // 5))]
        for number, (arch, train, values) in enumerate(drawn):
            upto = 99.0 if full and number in good else (0.5, 1.0)[number % 2]
            self.train(f"trial-{number:04d}", "trial", number, arch, train, values, upto)
        return self

    def lab(self) -> Story:
        """The lab's nets, one of which is another's twin."""
        for it in lab.variants(input_shape=SHAPE, classes=10):
            if it.name == "lab-cnn3-bn-as-written":
                points = pruning.report_points(it.train.epochs, ())
                self.ask(it.name, "lab", -1, it.arch, it.train, {}, points, "lab-cnn3")
                for report in curve(it.arch, it.train, points):
                    self.tell("report", it.name, report.place, **report.body)
                self.tell("ended", it.name, 0, state="complete", reason="", result=None)
            else:
                self.train(it.name, "lab", -1, it.arch, it.train, {})
        return self

    def compare(self, top: int, seeds: int, *, old: bool = False, png: str = PNG) -> Findings:
        """The finals, trained, tested and judged; ``old``: as an older release has recorded them, without images."""
        nets = finals.contenders(self.state, top, lab.variants(input_shape=SHAPE, classes=10))
        numbers = finals.seeds_of(self.state, seeds)
        easy = np.random.default_rng(7).beta(9, 1, size=IMAGES)
        labels = (np.arange(IMAGES) % 10).astype(np.uint8)
        self.tell("opened")
        for extra in finals.extras(nets, numbers):
            last = self.train(extra.key, "final", -1, extra.arch, extra.train, {})
            rng = np.random.default_rng(extra.train.seed)
            hits = rng.uniform(size=IMAGES) < easy + (last - easy.mean())
            classes = np.where(hits, labels, (labels + rng.choice([2, 4, 6], size=IMAGES)) % 10)
            predicted = "" if old else packed_classes(classes)
            tested = TestScore(float(hits.mean()), 0.3, IMAGES, packed(hits), 0.6 + last, 9.0 * last, predicted)
            self.tell("tested", extra.key, 0, **asdict(tested))
        if not old:
            self.tell("test_set", labels=packed_classes(labels))
            self.tell("duplicates", test=list(range(60)), exact=12, near=48, threshold=0.2, method="equal <bytes>")
            leader = standings.judge(self.state, nets, numbers).leader
            images = [
                {"index": 37 * it, "label": it % 10, "predicted": (it + 1) % 10, "votes": seeds - it % 2}
                | {"probability": 0.9, "png": png}
                for it in range(60)
            ]
            self.tell("mistakes", net=leader, seeds=seeds, images=images)
            winner = {"name": leader, "seed": 1, "why": "better than each of the lab's nets"}
            self.tell("compared", contenders=[net.to_dict() for net in nets], seeds=list(numbers), champion=winner)
        return standings.judge(self.state, nets, numbers)


def proposals(count: int, first: int = 0) -> Iterator[tuple[ArchSpec, TrainSpec, dict[str, Any]]]:
    """Nets of the default sweep and what was drawn for each."""
    _, read = config.load("default")
    for seed in range(first, first + count):
        suggest = Noted(seed)
        arch, train = space.sample(read, suggest, input_shape=SHAPE, classes=10)
        yield arch, train, suggest.drawn
