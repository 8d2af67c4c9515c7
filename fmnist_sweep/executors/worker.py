"""What runs inside a worker, whatever started it: the job, and every way that it can end, as a happening."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable
from contextlib import suppress

from fmnist_sweep.errors import DataError, Diverged
from fmnist_sweep.executors.base import Failed, Finished, Happening, Reported
from fmnist_sweep.trial import Report, RunTrial, TrialJob

_FUNCTION = re.compile(r"\{\{function_node .*?\}\}\s*")  # before an error's text: a name of TensorFlow's own making
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


def work(job: TrialJob, run: RunTrial, say: Callable[[Happening], None], hear: Callable[[], object]) -> None:
    """Runs ``job`` and says how it went; raises nothing of the job's own.

    Args:
        job: What to train.
        run: ``trial.run_trial``, or a stand-in for tests.
        say: Tells the driver.
        hear: Waits until the driver says to go on.
    """

    def report(said: Report) -> None:
        say(Reported(job.key, said))
        hear()

    try:
        result = run(job, report)
    except Diverged as error:
        say(Failed(job.key, "diverged", str(error)))
    except DataError as error:
        say(Failed(job.key, "data", str(error)))
    except OSError as error:
        _note()
        say(Failed(job.key, "disk" if error.errno in _DISK else "error", _line(error)))
    except Exception as error:
        _note()
        say(Failed(job.key, "memory" if _of_memory(error) else "error", _line(error)))
    else:
        say(Finished(job.key, result))


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {_gist(str(error))[:300]}"


def _gist(text: str) -> str:
    """The first line; of TensorFlow's errors in a graph, which first tell where they arose, the line of the cause."""
    lines = [line.strip() for line in _FUNCTION.sub("", text).partition("[[{{node")[0].splitlines() if line.strip()]
    return lines[-1 if lines[0].startswith("Graph execution error") else 0] if lines else ""


def _of_memory(error: Exception) -> bool:
    """Whether memory ran out: the machine's, or a GPU's, which TensorFlow may tell of as an internal error."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    return named or (type(error).__name__ == "InternalError" and "out of memory" in str(error).lower())


def _note() -> None:
    """Puts the traceback into the log, which may be on a disk that is full."""
    with suppress(OSError):
        traceback.print_exc()
