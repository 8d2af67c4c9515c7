"""Trains one net with fused layers and with Keras' own, in turns: prints the seconds of each round as JSON.

python -m benchmarks.one_net '{"arch": ..., "train": ..., "images": N, "rounds": N}'
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
    plain, fused = in_turns([Training(arch, train, split, fused=kind) for kind in (False, True)], rounds)
    print(json.dumps({"plain": plain, "fused": fused}))


if __name__ == "__main__":
    kernels.choose()
    os.environ.update(dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main(json.loads(sys.argv[1]))
