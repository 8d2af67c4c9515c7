"""A Ray cluster: each node's slots run jobs as local processes, and all that is worth keeping comes to the driver.

No file system is shared. The images go to each machine once; a checkpoint comes with each report and is on the
driver's disk before the driver hears of the report, so a job goes on elsewhere when its node dies.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_sweep import durable
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors import ray_cluster, ray_nodes
from fmnist_sweep.executors.base import Died, Failed, Finished, Happening, Reported
from fmnist_sweep.executors.local import PRELOAD
from fmnist_sweep.executors.ray_cluster import Cluster
from fmnist_sweep.executors.ray_data import Shipment, raw, shipment
from fmnist_sweep.executors.ray_nodes import Node, Place
from fmnist_sweep.executors.ray_slot import Ready, Said, Slot, code
from fmnist_sweep.trial import RunTrial, TrialJob, run_trial

_LOOK_S = 1.0
_ANSWER_S = 180.0
_FIRST_SLOT_S = 300.0
_NO_ROOM_S = 600.0
_GOODBYE_S = 5.0
_TRIES = 3
_THREADS = 4  # of a slot: one that listens, and room for orders that come meanwhile


@dataclass(slots=True)
class _Held:
    """A slot as the driver knows it.

    Attributes:
        actor: Ray's handle.
        place: Where it is.
        ready: Whether it can take jobs.
        job: What it runs.
        number: Of the last job that it was told of.
        due: When it must have answered, on the monotonic clock; 0.0 where it may take its time.
    """

    actor: Any
    place: Place
    ready: bool = False
    job: TrialJob | None = None
    number: int = 0
    due: float = 0.0


class RayExecutor:
    """See ``Executor``. Slots come and go with the cluster's nodes.

    Args:
        cluster: Where jobs run.
        log: Gets what the workers' libraries print.
        workers: Jobs at a time; 0 for as many as there is room for.
        run: What a worker does with a job; a module-level function.
        preload: Modules that each slot's fork server imports once.
        owns: Whether ``close`` closes the cluster too.

    Raises:
        FatalError: No slot can be had.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        log: Path,
        workers: int = 0,
        run: RunTrial = run_trial,
        preload: tuple[str, ...] = PRELOAD,
        owns: bool = False,
    ) -> None:
        self._cluster, self._ray, self._owns = cluster, cluster.ray, owns
        self._workers, self._log = workers, log
        self._slot = cluster.ray.remote(Slot)
        self._made_with = (run, preload, cluster.ray.get)
        self._code = code()
        self._slots: dict[tuple[str, int], _Held] = {}
        self._answers: dict[Any, tuple[_Held, int]] = {}  # Ray's references -> who is to answer, to which job
        self._queue: list[TrialJob] = []
        self._shipments: dict[Path, Shipment] = {}
        self._without_gpu: set[str] = set()
        self._refused: dict[str, str] = {}
        self._failures: dict[str, int] = {}  # slots in a row that a node has lost
        self._closed = False
        self._looked = 0.0
        self._had_room = time.monotonic()
        self.fetched: dict[str, int] = {}  # bytes of images that came to each node
        self._await_first()

    spreads = False

    @property
    def slots(self) -> int:
        """See ``Executor``; one at least, since a job that finds no slot waits for one."""
        able = [held for held in self._slots.values() if held.ready and (self._is_good(held) or held.job is not None)]
        return max(1, len(able))

    def submit(self, job: TrialJob, alone: bool = False) -> None:  # noqa: ARG002
        """See ``Executor``."""
        running = [held.job.key for held in self._slots.values() if held.job] + [it.key for it in self._queue]
        if job.key in running or len(running) >= self.slots:
            raise ValueError(f"{job.key}: no free slot, or it runs already")
        self._queue.append(job)
        self._hand_out()

    def happenings(self, timeout_s: float) -> list[Happening]:
        """See ``Executor``.

        Raises:
            FatalError: The cluster is gone, or has had no room for a long time.
        """
        found = [*self._look_for_nodes(), *self._overdue()]
        self._hand_out()
        if not self._answers:
            time.sleep(0.0 if found else timeout_s)
            return found
        ready, _ = self._ray.wait(list(self._answers), timeout=0.0 if found else timeout_s)
        if ready:
            ready, _ = self._ray.wait(list(self._answers), num_returns=len(self._answers), timeout=0.0)
        for reference in ready:
            found += self._take(reference)
        return found

    def proceed(self, key: str) -> None:
        """See ``Executor``."""
        held = self._holder(key)
        if held is not None:
            self._expect(held, held.actor.go_on.remote(held.number))

    def cancel(self, key: str) -> None:
        """See ``Executor``."""
        self._queue = [job for job in self._queue if job.key != key]
        held = self._holder(key)
        if held is not None:
            held.actor.stop.remote(held.number)
            held.job, held.due = None, 0.0
            self._forget_answers(held)

    def close(self) -> None:
        """See ``Executor``."""
        self._queue.clear()
        self._answers.clear()
        with suppress(Exception):  # a cluster that is gone has nothing to end
            goodbyes = [held.actor.stop.remote(held.number) for held in self._slots.values() if held.ready]
            if goodbyes:
                self._ray.wait(goodbyes, num_returns=len(goodbyes), timeout=_GOODBYE_S)
            for held in self._slots.values():
                self._ray.kill(held.actor)
        self._slots.clear()
        self._shipments.clear()
        if self._owns and not self._closed:
            self._cluster.close()
        self._closed = True

    # --- slots

    def _await_first(self) -> None:
        deadline = time.monotonic() + _FIRST_SLOT_S
        try:
            while not any(held.ready for held in self._slots.values()):
                if time.monotonic() > deadline:
                    raise FatalError(f"the Ray cluster at {self._cluster.address} has no free CPU for a trial")
                self.happenings(_LOOK_S)
        except BaseException:
            self.close()
            raise

    def _look_for_nodes(self) -> list[Happening]:
        """Gives up the slots of nodes that are gone, and takes one at each place that is new."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S or self._closed:
            return []
        self._looked = now
        try:
            up = ray_nodes.nodes_up(self._ray.nodes())
        except Exception as error:
            raise FatalError(f"the Ray cluster is gone: {ray_cluster.first_line(error)}") from None
        ids = {node.id for node in up}
        gone = [held for held in self._slots.values() if held.place.node.id not in ids]
        found = [it for held in gone for it in self._lost(held, ConnectionError("the node is gone"))]
        good = [node for node in up if node.id not in self._refused]
        useless = [self._refused[node.id] for node in up if node.id in self._refused]
        if useless and not any(node.cpus for node in good):
            raise FatalError(useless[0])
        wanted = ray_nodes.places(good, self._workers, self._without_gpu)
        new = [place for place in wanted if place.key not in self._slots]
        open_ = sum(self._is_good(held) for held in self._slots.values())
        for place in new[: max(len(wanted) - open_, 0)]:
            self._open(place)
        if any(held.ready for held in self._slots.values()):
            self._had_room = now
        elif now - self._had_room > _NO_ROOM_S:
            raise FatalError(f"the Ray cluster at {self._cluster.address} has had no room for {_NO_ROOM_S / 60:g} min")
        return found

    def _open(self, place: Place) -> None:
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(place.node.id, soft=False)
        options = {"num_cpus": 1, "num_gpus": place.gpu, "max_concurrency": _THREADS, "scheduling_strategy": strategy}
        actor = self._slot.options(**options).remote(place, *self._made_with)
        held = self._slots[place.key] = _Held(actor, place)
        self._expect(held, actor.ready.remote())

    def _opened(self, held: _Held, said: Ready) -> None:
        node = held.place.node
        if said.code != self._code:
            self._refuse(node, f"node {node.name} has {said.code}; this driver has {self._code}")
            self._drop(held)
        elif held.place.gpu and not said.gpu:
            self._without_gpu.add(node.id)
            self._note(f"node {node.name} has GPUs that TensorFlow can't use")
            self._drop(held)
        else:
            held.ready = True

    def _refuse(self, node: Node, why: str) -> None:
        self._refused[node.id] = why
        self._note(why)

    def _is_good(self, held: _Held) -> bool:
        return held.place.node.id not in self._refused

    def _drop(self, held: _Held) -> None:
        self._slots.pop(held.place.key, None)
        self._forget_answers(held)
        self._ray.kill(held.actor)

    def _holder(self, key: str) -> _Held | None:
        return next((held for held in self._slots.values() if held.job is not None and held.job.key == key), None)

    # --- orders and answers

    def _hand_out(self) -> None:
        """Gives jobs that wait to slots that are free, on the nodes that have the least to do."""
        while self._queue:
            busy: dict[str, int] = {}
            for held in self._slots.values():
                busy[held.place.node.id] = busy.get(held.place.node.id, 0) + (held.job is not None)
            free = [held for held in self._slots.values() if held.ready and held.job is None and self._is_good(held)]
            if not free:
                return
            self._begin(min(free, key=lambda it: busy[it.place.node.id]), self._queue.pop(0))

    def _begin(self, held: _Held, job: TrialJob) -> None:
        if job.data.images not in self._shipments:
            self._shipments[job.data.images] = shipment(job.data, self._ray.put)
        held.job = job
        held.number += 1
        held.due = time.monotonic() + _ANSWER_S
        sent, checkpoint = self._shipments[job.data.images], raw(durable.read_sealed(job.checkpoint))
        self._expect(held, held.actor.begin.remote(held.number, job, sent, checkpoint))

    def _expect(self, held: _Held, reference: Any) -> None:
        self._answers[reference] = held, held.number

    def _forget_answers(self, held: _Held) -> None:
        self._answers = {reference: it for reference, it in self._answers.items() if it[0] is not held}

    def _take(self, reference: Any) -> list[Happening]:
        """What an answer says; files that came with it are on disk when this returns."""
        held, _ = self._answers.pop(reference)
        try:
            said: Ready | Said = self._ray.get(reference)
        except Exception as error:
            return self._lost(held, error)
        if isinstance(said, Ready):
            self._opened(held, said)
            return []
        held.due = 0.0
        if said.fetched:
            node = held.place.node.id
            self.fetched[node] = self.fetched.get(node, 0) + said.fetched
        return self._taken(held, said)

    def _taken(self, held: _Held, said: Said) -> list[Happening]:
        job, last = held.job, said.happenings[-1] if said.happenings else None
        self._note(said.log)
        if job is None:
            return []
        if isinstance(last, Failed) and last.why in ("disk", "data"):  # the node's, not the driver's
            return self._lost(held, OSError(last.message))
        try:
            if said.checkpoint is not None:
                durable.write_sealed(job.checkpoint, said.checkpoint.tobytes())
            if said.weights is not None:
                durable.write(job.weights, said.weights.tobytes())
        except OSError as error:
            raise FatalError(f"what {job.key} sent can't be kept in {job.folder}: {error.strerror or error}") from None
        if isinstance(last, Finished | Failed | Died):
            held.job = None
            self._failures.pop(held.place.node.id, None)
        elif not isinstance(last, Reported):
            self._expect(held, held.actor.listen.remote(held.number))
        return list(said.happenings)

    def _lost(self, held: _Held, error: Exception) -> list[Happening]:
        """A slot that is gone, or of no use: its job, if it has one, goes on elsewhere."""
        job, node, why = held.job, held.place.node, ray_cluster.first_line(error)
        self._note(f"slot {held.place.number} of node {node.name}: {error}")
        self._drop(held)
        self._failures[node.id] = self._failures.get(node.id, 0) + 1
        if self._failures[node.id] >= _TRIES:
            self._refuse(node, f"node {node.name} can't run trials: {why}")
        return [] if job is None else [Died(job.key, f"its slot on node {node.name} was lost: {why}", lost=True)]

    def _overdue(self) -> list[Happening]:
        now = time.monotonic()
        late = [held for held in self._slots.values() if held.due and now > held.due]
        return [it for held in late for it in self._lost(held, TimeoutError(f"no answer in {_ANSWER_S:g} s"))]

    def _note(self, text: str | bytes) -> None:
        if text:
            with suppress(OSError), self._log.open("ab") as file:
                file.write(text if isinstance(text, bytes) else f"{text}\n".encode())
