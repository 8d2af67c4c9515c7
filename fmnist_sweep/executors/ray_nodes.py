"""Which slots a cluster's nodes have: pure functions of what Ray tells of the nodes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_sweep.executors.local import WORKER_BYTES

_PARTS = 10_000  # Ray counts resources in ten-thousandths


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is up.

    Attributes:
        id: Ray's.
        name: Its address, for people.
        cpus: That Ray may give away on it.
        gpus: The same.
        memory: Bytes, the same.
        alone: Whether no other node is on the same machine.
    """

    id: str
    name: str
    cpus: int
    gpus: int
    memory: float
    alone: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one trial at a time on a node.

    Attributes:
        node: Where.
        number: Tells apart the places of a node, from 0.
        gpu: Share of a GPU; 0 for none.
    """

    node: Node
    number: int
    gpu: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """Names the place."""
        return self.node.id, self.number

    @property
    def sharing(self) -> int:
        """Trials on one GPU; 0 without one."""
        return round(1 / self.gpu) if self.gpu else 0


def nodes_up(listed: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The nodes that are up, from what ``ray.nodes`` tells."""
    up = [it for it in listed if it["Alive"]]
    machines = [it["NodeManagerAddress"] for it in up]
    return [
        Node(
            id=it["NodeID"],
            name=it["NodeManagerAddress"],
            cpus=int(it["Resources"].get("CPU", 0)),
            gpus=int(it["Resources"].get("GPU", 0)),
            memory=float(it["Resources"].get("memory", 0)),
            alone=machines.count(it["NodeManagerAddress"]) == 1,
        )
        for it in up
    ]


def places(nodes: Sequence[Node], workers: int, without_gpu: Collection[str] = ()) -> list[Place]:
    """Where trials may run: the first place of each node, then the second of each, and so on.

    One a CPU, as far as the memory goes; on a node with GPUs one a GPU, or as many on each as ``workers`` asks for.

    Args:
        nodes: That are up.
        workers: The most places; 0 for as many as there is room for.
        without_gpu: Nodes whose GPUs can't be used.
    """
    with_gpu = {node.id: 0 if node.id in without_gpu else node.gpus for node in nodes}
    sharing = max(1, math.ceil(workers / max(1, sum(with_gpu.values()))))
    part = (_PARTS // sharing) / _PARTS
    found = []
    for node in nodes:
        gpus = with_gpu[node.id]
        most = min(node.cpus, gpus * sharing) if gpus else _by_memory(node)
        found += [Place(node, number, part if gpus else 0.0) for number in range(most)]
    found.sort(key=lambda place: place.number)  # stable: nodes stay in order
    return found[:workers] if workers else found


def _by_memory(node: Node) -> int:
    return node.cpus and max(1, min(node.cpus, int(node.memory // WORKER_BYTES)))
