"""A worker that gets ready while others still train, for what is to be done once they have ended."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fmnist_sweep.executors import local


class Standby:
    """Calls functions as ``local.call`` does, in a worker that is ready for them if there was time for that.

    Args:
        prepare: What gets a worker ready; a module-level function, or one with arguments given (``functools.partial``).
        log: Gets what it prints.
    """

    def __init__(self, prepare: Callable[[], object], log: Path) -> None:
        self._prepare = prepare
        self._log = log
        self._ready: tuple[BaseProcess, Connection] | None = None

    def begin(self) -> None:
        """Starts the worker, unless there is one."""
        if self._ready is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(list(local.PRELOAD))
            ours, theirs = context.Pipe()
            args = (self._prepare, theirs, str(self._log))
            process = local.started(lambda: context.Process(target=_wait, args=args, daemon=True))
            theirs.close()
            self._ready = process, ours

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """See ``local.call``.

        Raises:
            RuntimeError: See there.
        """
        if self._ready is not None:
            with suppress(EOFError, OSError):  # it has died: a fresh one does it
                self._ready[1].send((function, args))
                good, value = self._ready[1].recv()
                if not good:
                    raise RuntimeError(value)
                return value
        return local.call(function, *args, log=self._log)

    def close(self) -> None:
        """Ends the worker."""
        if self._ready is not None:
            process, pipe = self._ready
            process.kill()
            process.join()
            pipe.close()
            self._ready = None


def _wait(prepare: Callable[[], object], pipe: Connection, log: str) -> None:
    """The worker's life."""
    local.settle_off_gpu(log)
    with suppress(EOFError):
        prepare()
        while True:
            function, args = pipe.recv()
            local.answer(function, args, pipe)
