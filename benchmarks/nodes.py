"""A real Ray cluster of several nodes on this one machine: each has its own raylet, object store and workers."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from fmnist_sweep.executors import ray_cluster
from fmnist_sweep.executors.ray_keeper import ENVIRONMENT

_STORE_BYTES = 100_000_000


class Nodes:
    """The cluster, with a head that runs no trials, and this process's connection to it.

    Args:
        folder: For what each node keeps on its own disk.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        from ray.cluster_utils import Cluster

        self._folder, self._count = folder, 0
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 2 * _STORE_BYTES}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.connection = ray_cluster.connect(self._cluster.address)

    def join(self, cpus: int = 1) -> Any:
        """One more node, as if it were another machine; returns what ``kill`` wants."""
        self._count += 1
        own = self._folder / f"node-{self._count}"
        own.mkdir(parents=True)
        return self._cluster.add_node(
            wait=False, num_cpus=cpus, num_gpus=0, object_store_memory=_STORE_BYTES, env_vars={"TMPDIR": str(own)}
        )

    def kill(self, node: Any) -> None:
        """Ends a node and all that runs on it, by SIGKILL; one that is dead already stays so."""
        if node in self._cluster.worker_nodes:
            self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """Ends the cluster."""
        self.connection.close()
        self._cluster.shutdown()
