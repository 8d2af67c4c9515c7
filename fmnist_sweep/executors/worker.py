"""What runs inside a worker, whatever started it: the job, and every way that it can end, as a happening."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from fmnist_sweep.errors import Diverged
from fmnist_sweep.executors.base import Failed, Finished, Happening, Reported
from fmnist_sweep.trial import Report, RunTrial, TrialJob


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
    except Exception as error:
        memory = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        first_line = (str(error).splitlines() or [""])[0][:300]
        traceback.print_exc()
        say(Failed(job.key, "memory" if memory else "error", f"{type(error).__name__}: {first_line}"))
    else:
        say(Finished(job.key, result))
