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

_DEATHS = 3
_PATIENCE_S = 120.0


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
        self._then: Callable[[Any], object] | None = None
        self._deaths = 0

    def begin(self) -> None:
        """Starts the worker, unless there is one, or so many have died that it is no bad luck."""
        if self._ready is None and self._deaths < _DEATHS:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(list(local.PRELOAD))
            ours, theirs = context.Pipe()
            args = (self._prepare, theirs, str(self._log))
            process = local.started(lambda: context.Process(target=_wait, args=args, daemon=True))
            theirs.close()
            self._ready = process, ours

    def later(self, function: Callable[..., Any], *args: Any, then: Callable[[Any], object]) -> bool:
        """Has the worker, if there is one, call a module-level ``function`` while the caller does other things.

        Args:
            function: What to call.
            args: Its arguments.
            then: Gets its result, in ``look`` or ``call``; where it raised or the worker died, nobody is told.

        Returns:
            False if that can't be, as a worker has died or has such a call to answer yet.
        """
        if self._ready is None or self._then is not None:
            return False
        try:
            self._ready[1].send((function, args))
        except OSError:
            self._end_dead()
            return False
        self._then = then
        return True

    def look(self, wait_s: float = 0.0) -> None:
        """Passes on the answer to ``later``, if it is there.

        Args:
            wait_s: How long to wait for it; a worker that was waited for in vain is ended.
        """
        if self._ready is None or self._then is None:
            return
        if not self._ready[1].poll(wait_s):
            if wait_s:
                self.close()
            return
        then, self._then = self._then, None
        try:
            good, value = self._ready[1].recv()
        except (EOFError, OSError):
            self._end_dead()
            return
        if good:
            then(value)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """See ``local.call``.

        Raises:
            RuntimeError: See there.
        """
        self.look(_PATIENCE_S)
        if self._ready is not None:
            with suppress(EOFError, OSError):  # it has died: a fresh one does it
                self._ready[1].send((function, args))
                good, value = self._ready[1].recv()
                if not good:
                    raise RuntimeError(value)
                return value
        return local.call(function, *args, log=self._log)

    def _end_dead(self) -> None:
        self._deaths += 1
        self.close()

    def close(self) -> None:
        """Ends the worker."""
        if self._ready is not None:
            process, pipe = self._ready
            process.kill()
            process.join()
            pipe.close()
            self._ready, self._then = None, None


def _wait(prepare: Callable[[], object], pipe: Connection, log: str) -> None:
    """The worker's life."""
    local.settle_off_gpu(log)
    with suppress(EOFError):
        prepare()
        while True:
            function, args = pipe.recv()
            local.answer(function, args, pipe)
