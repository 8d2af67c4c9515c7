"""Real training for workers of a bare fork server: TensorFlow loads before the worker takes its seat."""

from __future__ import annotations

import json

import tensorflow as tf

from fmnist_sweep import train as train  # as the preloaded module does
from fmnist_sweep.trial import ReportTo, TrialJob, TrialResult, run_trial


def noting_threads(job: TrialJob, report: ReportTo) -> TrialResult:
    """Trains, and writes how many threads an operation had and how many operations ran at a time."""
    result = run_trial(job, report)
    threads = tf.config.threading
    had = threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()
    (job.folder / "threads").write_text(json.dumps(had))
    return result
