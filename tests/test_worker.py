"""What a worker says of errors: their cause in a line, and whether memory was short."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_sweep.executors.base import Failed, Happening
from fmnist_sweep.executors.worker import work
from fmnist_sweep.trial import TrialJob, TrialResult
from tests import stand_ins

GRAPH = """Graph execution error:

Detected at node zeros defined at (most recent call last):
  File "train.py", line 7, in g

{cause}
\t [[{{{{node zeros}}}}]]
Hint: If you want to see a list of allocated tensors, add report_tensor_allocations_upon_oom to RunOptions.
 [Op:__inference_g_65]"""


class InternalError(Exception):
    """Named as TensorFlow's."""


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


def said(error: Exception, folder: Path) -> Failed:
    """What the driver hears of a job that raises ``error``."""

    def run(_: TrialJob, __: object) -> TrialResult:
        raise error

    heard: list[Happening] = []
    work(stand_ins.job(folder), run, heard.append, lambda: None)
    (failed,) = heard
    assert isinstance(failed, Failed)
    return failed


@pytest.mark.parametrize(
    ("error", "why", "line"),
    [
        (ValueError("a shape\nis wrong"), "error", "ValueError: a shape"),
        (ValueError(), "error", "ValueError: "),
        (InternalError(GRAPH.format(cause="a kernel is missing")), "error", "InternalError: a kernel is missing"),
        (InternalError("Graph execution error:"), "error", "InternalError: Graph execution error:"),
        (InternalError(GRAPH.format(cause="CUDA: out of memory")), "memory", "InternalError: CUDA: out of memory"),
        (
            ResourceExhaustedError(GRAPH.format(cause="OOM when allocating tensor with shape[5,4]")),
            "memory",
            "ResourceExhaustedError: OOM when allocating tensor with shape[5,4]",
        ),
        (MemoryError("too much"), "memory", "MemoryError: too much"),
    ],
)
def test_the_cause_is_told_in_a_line(error: Exception, why: str, line: str, tmp_path: Path) -> None:
    failed = said(error, tmp_path)
    assert (failed.why, failed.message) == (why, line)


def test_a_real_error_of_a_graph(tmp_path: Path) -> None:
    import tensorflow as tf

    graph = tf.function(lambda place: tf.gather(tf.random.uniform([3]), place), autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.constant(5))
    assert said(caught.value, tmp_path).message == "InvalidArgumentError: indices = 5 is not in [0, 3)"
