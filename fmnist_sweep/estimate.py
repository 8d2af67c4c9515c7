"""What a sweep will cost, by arithmetic and what was measured before; no TensorFlow is imported here.

The model of the time of one training step is linear: arithmetic (three passes' worth of the forward
pass's FLOPs), memory traffic (the values in the layers' outputs) and the optimizer's pass over the
parameters. Its constants were fitted to the 54 nets of the run in README.md, half of which it meets within
a factor of 1.4; where the home folder holds trials of this machine, their pace corrects them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from fmnist_sweep import arithmetic
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.schema import SweepConfig
from fmnist_sweep.state import JobRecord, StudyState

_FLOPS_PER_S = 2.5e11
_ACTIVATIONS_PER_S = 4.4e8
_PARAMETERS_PER_S = 8.5e8


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
        """The median over jobs that have trained."""
        ratios = [
            job.reports[-1].train_s / (image_s(job.arch, job.train) * job.reports[-1].images)
            for job in jobs
            if job.reports and not job.same_as
        ]
        return cls(median(ratios), len(ratios)) if ratios else cls()


def image_s(arch: ArchSpec, train: TrainSpec) -> float:
    """Seconds that one image of training takes on one core of the machine the constants come from."""
    cost = arithmetic.cost(arch)
    step = cost.parameters / _PARAMETERS_PER_S
    return 3 * cost.flops / _FLOPS_PER_S + cost.activation_elements / _ACTIVATIONS_PER_S + step / train.batch_size


def epochs_of_all(config: SweepConfig, target: int) -> float:
    """Epochs that ``target`` trials take together if at each rung the share that the pruner means to goes on."""
    fidelity, epochs = config.fidelity, float(config.epochs)
    finalists = min(target, config.study.keep_models)
    share = {"asha": 1 / fidelity.reduction, "median": 0.5, "none": 1.0}[fidelity.pruner]
    total, before, going_on = 0.0, 0.0, float(target)
    for rung in [rung for rung in fidelity.rungs if rung < epochs]:
        total += going_on * (rung - before)
        before, going_on = rung, max(going_on * share, finalists)
    return total + going_on * (epochs - before)


def seconds_left(state: StudyState, target: int, workers: int) -> float | None:
    """How long a running study has to go, at the pace of its trials so far; None before there is one."""
    trials = [job for job in state.trials() if job.epoch]
    done = sum(job.epoch for job in trials)
    if not done:
        return None
    config = SweepConfig.model_validate(state.study["config"])
    left = max(epochs_of_all(config, target) - done, 0.0)
    return left * sum(job.reports[-1].train_s for job in trials) / done / workers
