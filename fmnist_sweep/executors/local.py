"""Local processes: a fresh one for each job, forked from a server that has TensorFlow loaded and nothing run.

A job can be killed at any time and leaks into no other. Each worker is pinned to its share of the cores and
has as many threads; the images are mapped from one file, so they are in memory once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fmnist_sweep.executors import gpu, limits
from fmnist_sweep.executors.base import Died, Failed, Finished, Happening, Started
from fmnist_sweep.executors.gpu import GpuShare
from fmnist_sweep.executors.kernel import Kills, die_with_parent, go_first
from fmnist_sweep.executors.worker import work
from fmnist_sweep.trial import RunTrial, TrialJob, run_trial

WORKER_BYTES = 1_500_000_000
_CALLS = 3
_MOST_AT_ONCE = 2  # of a net's backward pass: a layer's weights and its inputs
_NEW_SERVER_S = 10.0
PRELOAD = ("fmnist_sweep.executors.preload",)


def auto_workers() -> int:
    """One worker a GPU, or where there is none one a core, as far as the memory goes."""
    cpus = limits.cpus()
    return max(1, min(len(gpu.found()) or cpus, cpus, limits.memory_bytes() // WORKER_BYTES))


@dataclass(frozen=True, slots=True)
class _Seat:
    """What a worker may use.

    Attributes:
        cores: That it is pinned to; none: all.
        threads: Of one operation, which fix the order in which it adds up.
        share: Of a GPU.
        at_once: Operations of the graph at a time, which changes no figure.
    """

    cores: tuple[int, ...]
    threads: int
    share: GpuShare | None
    at_once: int = 1


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    slot: int
    kills_before: int


class LocalExecutor:
    """See ``Executor``.

    Args:
        workers: Processes at a time.
        log: Where the workers' standard output and error go.
        run: What a worker does with a job; a module-level function.
        preload: Modules that the fork server imports once, before any worker.
        shares: Of GPUs, one for each worker; with none they train on the processor.
        threads: Of each worker, not pinned to any core; by default each is pinned to its share of the cores.
    """

    def __init__(
        self,
        workers: int,
        *,
        log: Path,
        run: RunTrial = run_trial,
        preload: tuple[str, ...] = PRELOAD,
        shares: Sequence[GpuShare | None] = (),
        threads: int | None = None,
    ) -> None:
        self._slots = workers
        self._log = log
        self._run = run
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._seats = _seats(shares or (None,) * workers, threads)
        self._alone = _all_of(self._seats)
        self.spreads = workers > 1 and threads is None and not any(shares) and limits.cpus() > 1
        self._workers: dict[str, _Worker] = {}
        self._kernel = Kills()

    @property
    def slots(self) -> int:
        """See ``Executor``."""
        return self._slots

    def submit(self, job: TrialJob, alone: bool = False) -> None:
        """See ``Executor``."""
        busy = {worker.slot for worker in self._workers.values()}
        free = [slot for slot in range(self._slots) if slot not in busy]
        if not free or job.key in self._workers:
            raise ValueError(f"{job.key}: no free slot, or it runs already")
        ours, theirs = self._context.Pipe()
        kills_before = self._kernel.count()
        seat = self._alone if alone and self.spreads else self._seats[free[0]]
        args = (job, theirs, self._run, seat, str(self._log))
        process = started(lambda: self._context.Process(target=_main, args=args, name=job.key, daemon=True))
        theirs.close()
        self._workers[job.key] = _Worker(process, ours, free[0], kills_before)

    def happenings(self, timeout_s: float) -> list[Happening]:
        """See ``Executor``."""
        by_pipe: dict[Any, str] = {worker.pipe: key for key, worker in self._workers.items()}
        if not by_pipe:
            return []
        found: list[Happening] = []
        for pipe in wait(list(by_pipe), timeout_s):
            found += self._read(by_pipe[pipe])
        return found

    def proceed(self, key: str) -> None:
        """See ``Executor``."""
        worker = self._workers.get(key)
        if worker is not None:
            with suppress(OSError):  # it died meanwhile: the next look at its pipe says so
                worker.pipe.send(True)

    def cancel(self, key: str) -> None:
        """See ``Executor``."""
        if key in self._workers:
            self._workers[key].process.kill()
            self._forget(key)

    def kill(self, key: str) -> None:
        """Ends the worker of ``key``, which is then told of as dead; any thread may call it while another listens."""
        worker = self._workers.get(key)
        if worker is not None:
            worker.process.kill()
            wait([worker.process.sentinel])

    def close(self) -> None:
        """See ``Executor``."""
        for worker in self._workers.values():
            worker.process.kill()
        for key in list(self._workers):
            self._forget(key)

    def _read(self, key: str) -> list[Happening]:
        worker = self._workers[key]
        found: list[Happening] = []
        try:
            while worker.pipe.poll():
                said: Happening = worker.pipe.recv()
                found.append(said)
                if isinstance(said, (Finished, Failed)):
                    self.cancel(key)  # all is on disk and said: no need to wait for TensorFlow's farewell
                    break
        except (EOFError, OSError):
            found.append(self._end_of(key))
        return found

    def _end_of(self, key: str) -> Failed | Died:
        """What became of a worker that ended without a word."""
        before = self._workers[key].kills_before
        code = self._forget(key)
        if code == -signal.SIGKILL and self._kernel.explain(before):
            return Failed(key, "memory", "the kernel ended the worker, as memory ran out")
        return Died(key, _cause(code))

    def _forget(self, key: str) -> int | None:
        worker = self._workers.pop(key)
        worker.process.join()
        worker.pipe.close()
        return worker.process.exitcode


def started(make: Callable[[], BaseProcess]) -> BaseProcess:
    """A process, started.

    Where the fork server is killed just then, Python starts another for a later try, once the old one has
    ended: its sockets are closed a moment before.
    """
    deadline = time.monotonic() + _NEW_SERVER_S
    while True:
        process = make()
        try:
            _ensure_fork_server()
            process.start()
        except (EOFError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return process


def _seats(shares: Sequence[GpuShare | None], threads: int | None) -> list[_Seat]:
    cores, cpus = limits.usable_cores(), limits.cpus()
    each = threads or max(1, cpus // len(shares))
    at_once = 1 if any(shares) else min(each, _MOST_AT_ONCE)
    if threads is not None or cpus < len(cores):  # a share of their time: which of them are free only the kernel knows
        return [_Seat((), each, share, at_once) for share in shares]
    pinned = [tuple(cores[(slot * each) % len(cores) :][:each]) for slot in range(len(shares))]
    return [_Seat(mine, each, share, at_once) for mine, share in zip(pinned, shares, strict=True)]


def _all_of(seats: Sequence[_Seat]) -> _Seat:
    """The seat of a worker that is alone: all cores, for more operations at a time, each of which adds up as ever."""
    cores = tuple(sorted({core for seat in seats for core in seat.cores}))
    return _Seat(cores, seats[0].threads, seats[0].share, _MOST_AT_ONCE)


def _ensure_fork_server() -> None:
    """Starts the fork server unless it runs, deaf to Ctrl-C: by itself it is that only once all is loaded."""
    resource_tracker.ensure_running()  # the server needs it, and Python lets signals through where it starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def warm_up() -> None:
    """Starts the fork server, which loads TensorFlow while the caller does other things."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOAD))
    _ensure_fork_server()


def call(function: Callable[..., Any], *args: Any, log: Path, on_gpu: bool = False) -> Any:
    """Calls a module-level ``function`` in a fresh worker that may use all cores, and returns its result.

    A worker that dies is replaced, so ``function`` must do no harm when it is done twice.

    Args:
        function: What to call.
        args: Its arguments.
        log: Gets what it prints.
        on_gpu: Whether it trains, and so may use the first GPU if there is one.

    Raises:
        RuntimeError: It raised, or died time and again; the message says how.
    """
    for attempt in range(_CALLS):
        try:
            good, value = _called(function, args, log, on_gpu)
        except _CallDiedError as died:
            if attempt == _CALLS - 1:
                raise RuntimeError(f"{died}, {_CALLS} times") from None
        else:
            break
    if not good:
        raise RuntimeError(value)
    return value


class _CallDiedError(Exception):
    pass


def _called(function: Callable[..., Any], args: tuple[Any, ...], log: Path, on_gpu: bool) -> tuple[bool, Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    ours, theirs = context.Pipe(duplex=False)
    process = started(
        lambda: context.Process(target=_call, args=(function, args, theirs, str(log), on_gpu), daemon=True),
    )
    theirs.close()
    try:
        answer: tuple[bool, Any] = ours.recv()
    except EOFError:
        process.join()
        raise _CallDiedError(_cause(process.exitcode)) from None
    process.join()
    return answer


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"the worker was ended by {names.get(-code, f'signal {-code}')}"
    return f"the worker ended with code {code}"


def _main(job: TrialJob, pipe: Connection, run: RunTrial, seat: _Seat, log: str) -> None:
    """A worker's life."""
    _settle(log)
    _use(seat)
    pipe.send(Started(job.key, f"pid {os.getpid()}"))
    work(job, run, pipe.send, pipe.recv)


def _call(function: Callable[..., Any], args: tuple[Any, ...], pipe: Connection, log: str, on_gpu: bool) -> None:
    if on_gpu:
        _settle(log)
        gpu.use(next(iter(gpu.shares(gpu.found(), 1))))
    else:
        settle_off_gpu(log)
    answer(function, args, pipe)


def settle_off_gpu(log: str) -> None:
    """For a worker that trains nothing: prints into ``log``, and leaves the GPUs to others."""
    _settle(log)
    gpu.keep_off()


def answer(function: Callable[..., Any], args: tuple[Any, ...], pipe: Connection) -> None:
    """Calls ``function`` and sends whether it went well, and what it returned or raised."""
    try:
        pipe.send((True, function(*args)))
    except Exception as error:
        import traceback

        traceback.print_exc()
        pipe.send((False, f"{type(error).__name__}: {error}"))


def _settle(log: str) -> None:
    """Leaves Ctrl-C to the driver, dies with the driver, and prints into the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_the_fork_server_end()
    die_with_parent()
    threading.Thread(target=_die_with_driver, daemon=True, name="watches the driver").start()
    go_first()
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    except OSError:  # a full disk is told of when the job writes there
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _let_the_fork_server_end() -> None:
    """Closes this end of the pipe that keeps the fork server alive, so that it ends with the driver.

    Python hands it to every child, for children of its own; a worker has none. The name is Python's own.
    """
    server = forkserver._forkserver
    handle = getattr(server, "_forkserver_alive_fd", None)
    if isinstance(handle, int):
        server._forkserver_alive_fd = None  # type: ignore[attr-defined]
        os.close(handle)


def _die_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)


def _use(seat: _Seat) -> None:
    """Keeps the process to its cores, threads and GPU, before TensorFlow's runtime starts."""
    if seat.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, seat.cores)
    gpu.use(seat.share)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.config.threading.set_intra_op_parallelism_threads(seat.threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(seat.at_once)
