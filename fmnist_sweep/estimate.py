"""What a sweep will cost, by arithmetic and what was measured before; no TensorFlow is imported here.

The time of training comes from ``arithmetic.image_s``, whose constants are another machine's. Where the home folder
holds trials of this machine, their pace corrects them; where it holds none, a probe of a tenth of a second does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import mean, median

import numpy as np

from fmnist_sweep import arithmetic, lab, space
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.schema import Domain, SweepConfig
from fmnist_sweep.state import ENDED, JobRecord, StudyState

_MATRIX_FLOPS_PER_S = 1.49e11  # what ``Pace.probed`` finds on one core of that machine
_ADDED_BYTES_PER_S = 2.38e10  # likewise
START_S = 3.5  # a worker's own: process, building, tracing, and scoring two or three times
_STARTS = 1.3  # a trial's, as some are set aside and taken up again
_PASSED = 1.6  # how many pass a rung, by the share that is meant to: the first pass easily, the later are better
_WEIGHED = 0.75  # cost of a net that ``gp`` tries or trains in full, by a random net's: three studies of ``default``
_TELLING_S = 3.0
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this machine is beside the one the constants come from.

    Attributes:
        factor: Seconds here by seconds there.
        trials: Trials that it was measured on; 0 for none.
    """

    factor: float = 1.0
    trials: int = 0

    @classmethod
    def of(cls, jobs: Iterable[JobRecord]) -> Pace:
        """The median over jobs that have trained for long enough that making the graph hardly counts."""
        expected = (
            (job.reports[-1].train_s, arithmetic.image_s(job.arch, job.train) * job.reports[-1].images)
            for job in jobs
            if job.reports and not job.same_as
        )
        ratios = [found / seconds for found, seconds in expected if seconds >= _TELLING_S]
        return cls(median(ratios), len(ratios)) if ratios else cls()

    @classmethod
    def probed(cls) -> Pace:
        """From a probe of one core."""
        products, added = probe()
        return cls(math.sqrt(_MATRIX_FLOPS_PER_S / products * _ADDED_BYTES_PER_S / added))


def probe() -> tuple[float, float]:
    """FLOPs by second of matrix products, bytes by second of a long addition, on one core, in a tenth of a second."""
    from threadpoolctl import threadpool_limits

    square, long = np.ones((512, 512), np.float32), np.ones(4_000_000, np.float32)
    room = np.empty_like(long)
    with threadpool_limits(1):
        products = 2 * 512**3 / _shortest(lambda: square @ square)
        added = 2 * long.nbytes / _shortest(lambda: np.add(long, 1.0, out=room))
    return products, added


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sweep is expected to come to.

    Attributes:
        nets: Draws from its space that keep to its limits (all draws, where none does).
        over_limits: Share of the draws that did not, 0 to 1.
        trials_s: Seconds for the trials, with all workers.
        lab_s: Seconds for the lab's nets, likewise.
        largest_bytes: Memory that the largest of the nets takes to train, TensorFlow itself left out.
    """

    nets: tuple[tuple[ArchSpec, TrainSpec], ...]
    over_limits: float
    trials_s: float
    lab_s: float
    largest_bytes: int


def forecast(
    config: SweepConfig,
    target: int,
    workers: int,
    pace: Pace,
    *,
    images: int,
    input_shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> Forecast:
    """What ``target`` trials of a sweep and the lab's nets will take, from draws of its space."""
    draws = [
        space.sample(config, space.RandomSuggest(f"{seed}-{turn}"), input_shape=input_shape, classes=classes, seed=seed)
        for turn in range(_DRAWS)
    ]
    fitting = [(arch, train) for arch, train in draws if space.excess(arch, config.limits) <= 0]
    nets = fitting or draws
    costs = sorted(images * arithmetic.image_s(arch, train) for arch, train in nets)
    *early, (finalists, last) = segments(config, target)
    typical = mean(costs)
    selected = early and config.fidelity.pruner != "none"
    of_finalists = mean(costs[len(costs) // 2 :]) if selected else typical  # they are of the larger kind
    if _by_model(config):  # which weighs what a net promises against its time
        typical = of_finalists = _WEIGHED * typical
    last *= mean(train.epochs for _, train in nets) / config.epochs  # 1 unless epochs are searched
    epochs_s = typical * sum(trials * epochs for trials, epochs in early) + of_finalists * finalists * last
    epochs_s += target * _STARTS * START_S
    variants = lab.variants(
        config.lab.variants,
        input_shape=input_shape,
        classes=classes,
        epochs=min(lab.PROTOCOL.epochs, config.epochs),
    )
    different = {fingerprint(it.arch, it.train): it for it in variants}.values()
    each_s = [images * arithmetic.image_s(it.arch, it.train) * it.train.epochs + START_S for it in different]
    return Forecast(
        nets=tuple(nets),
        over_limits=1 - len(fitting) / len(draws),
        trials_s=pace.factor * epochs_s / min(workers, max(target, 1)),
        lab_s=pace.factor * max([sum(each_s) / workers, *each_s]),
        largest_bytes=max(arithmetic.cost(arch).training_bytes(train) for arch, train in nets),
    )


def _shortest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few turns: what else the machine does only makes it slower."""
    spent = []
    for _ in range(12):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return min(spent)


def segments(config: SweepConfig, target: int) -> list[tuple[float, float]]:
    """From rung to rung, how many of ``target`` trials train on and for how many epochs each.

    At each rung more go on than the pruner means to (with ``gp`` as many), and never fewer than the finalists; with
    full training at the end these alone pass the last one.
    """
    fidelity, epochs = config.fidelity, float(config.epochs)
    if config.study.engine == "keras-tuner-hyperband":
        return [*_hyperband(target, config.epochs, fidelity.reduction), (0.0, 0.0)]
    finalists = min(target, config.study.keep_models)
    passed = 1.0 if _by_model(config) else _PASSED
    share = {"asha": min(passed / fidelity.reduction, 1.0), "median": 0.5, "none": 1.0}[fidelity.pruner]
    found, before, going_on = [], 0.0, float(target)
    for rung in [rung for rung in fidelity.rungs if rung < epochs]:
        found.append((going_on, rung - before))
        before, going_on = rung, max(going_on * share, finalists)
    if fidelity.full_training == "at_end" and found:
        going_on = finalists
    return [*found, (going_on, epochs - before)]


def _hyperband(target: int, epochs: int, factor: int) -> Iterator[tuple[float, float]]:
    """The first ``target`` trials of KerasTuner's Hyperband, round by round, each trained from its beginning.

    Li et al., Hyperband, JMLR 18 (2018), with the sizes that KerasTuner rounds up to.
    """
    brackets, left = 1, target
    while epochs / factor**brackets >= 1:
        brackets += 1
    last = math.ceil(1 + math.log(epochs, factor))  # nets that end the quickest bracket, as KerasTuner has it
    while left:
        for bracket in reversed(range(brackets)):
            for round_ in range(bracket + 1):
                size = min(math.ceil(last / (bracket + 1) * factor ** (bracket - round_)), left)
                left -= size
                yield float(size), float(math.ceil(epochs / factor ** (bracket - round_)))


def _by_model(config: SweepConfig) -> bool:
    return config.study.sampler == "gp" and config.study.engine == "optuna"


def _searches_epochs(config: SweepConfig) -> bool:
    return isinstance(config.space.get("epochs"), Domain) or any("epochs" in case for case in config.cases.values())


def epochs_of_all(config: SweepConfig, target: int) -> float:
    """Epochs that ``target`` trials are expected to take together."""
    return sum(trials * epochs for trials, epochs in segments(config, target))


def seconds_left(state: StudyState, target: int, workers: int) -> float | None:
    """How long a running study has to go, at the pace of its nets so far; None before that is known.

    Args:
        state: Of the study.
        target: Trials in all; 0 where none is searched for, as in the finals.
        workers: That train.
    """
    if not any(job.epoch for job in state.jobs.values() if job.kind != "trial" or target):
        return None
    others = [job for job in state.others() if job.state not in ENDED and not job.same_as]
    seconds = 0.0
    if others:
        paces = Paces(job for job in state.jobs.values() if job.kind != "trial" or target)
        seconds = sum(paces.epoch_s(job) * (job.train.epochs - job.epoch) for job in others)
    if target:
        trials = [job for job in state.trials() if job.epoch]
        done = sum(job.epoch for job in trials)
        if not done:
            return None
        config = SweepConfig.model_validate(state.study["config"])
        drawn = mean(job.train.epochs for job in trials) / config.epochs  # 1 unless epochs are searched
        left = max(epochs_of_all(config, target) * (drawn if _searches_epochs(config) else 1.0) - done, 0.0)
        seconds += left * sum(map(spent_s, trials)) / done
    return seconds / workers


def spent_s(job: JobRecord) -> float:
    """Seconds of training and scoring so far, of a job that has reported."""
    return job.reports[-1].train_s + sum(report.score_s or 0.0 for report in job.reports)


class Paces:
    """How long an epoch takes: of each job that has trained as it did so far, of others beside what arithmetic expects.

    Args:
        jobs: To learn from.
    """

    def __init__(self, jobs: Iterable[JobRecord]) -> None:
        trained = [job for job in jobs if job.epoch]
        self._own = {job.key: spent_s(job) / job.epoch for job in trained}
        self._factor = (
            mean(self._own[job.key] / arithmetic.image_s(job.arch, job.train) for job in trained) if trained else 0.0
        )

    def epoch_s(self, job: JobRecord) -> float:
        """Seconds on one worker."""
        return self._own.get(job.key, self._factor * arithmetic.image_s(job.arch, job.train))
