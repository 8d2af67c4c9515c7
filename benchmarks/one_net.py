"""Trains one net in one or more ways, in turns: prints the seconds of each round as JSON.

python -m benchmarks.one_net '{"arch": ..., "train": ..., "images": N, "rounds": N, "onednn": true, "ways": ["fused"]}'

The ways are "fused", with the fused layers, and "plain", with Keras' own.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

from fmnist_sweep import kernels


def main(task: dict[str, Any]) -> None:
    """Trains as the task says, on noise: what an image holds takes no time."""
    from fmnist_sweep.arch import ArchSpec, TrainSpec
    from fmnist_sweep.data import Split
    from fmnist_sweep.precision import in_turns
    from fmnist_sweep.train import Training

    arch, train = ArchSpec.from_dict(task["arch"]), TrainSpec.from_dict({**task["train"], "epochs": 1})
    count, rounds = (task["rounds"] + 1) * task["images"], task["rounds"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *arch.input_shape), dtype=np.uint8)
    labels = rng.integers(0, arch.classes, count).astype(np.uint8)
    split = Split(pixels, labels, pixels[:100], labels[:100])
    found = in_turns([Training(arch, train, split, fused=way == "fused") for way in task["ways"]], rounds)
    print(json.dumps(dict(zip(task["ways"], found, strict=True))))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    os.environ[kernels.ONEDNN] = str(int(given["onednn"]))
    os.environ.update(dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main(given)
