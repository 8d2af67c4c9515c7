"""How slots are dealt out over a Ray cluster's nodes, and how the images get there, without a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fmnist_sweep import durable
from fmnist_sweep.errors import FatalError
from fmnist_sweep.executors import ray_data, ray_nodes, ray_slot
from fmnist_sweep.executors.base import Finished, Reported
from fmnist_sweep.executors.local import WORKER_BYTES
from fmnist_sweep.executors.ray_data import Shipment
from fmnist_sweep.executors.ray_nodes import Node, Place
from fmnist_sweep.executors.ray_slot import Slot
from fmnist_sweep.trial import ReportTo, TrialJob, TrialResult
from tests import stand_ins

# --- slots, as pure functions

nodes_drawn = st.lists(
    st.builds(
        Node,
        id=st.uuids().map(str),
        name=st.just("10.0.0.1"),
        cpus=st.integers(0, 16),
        gpus=st.integers(0, 4),
        memory=st.integers(0, 64).map(lambda gb: gb * 1e9),
        alone=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda node: node.id,
)


@given(nodes_drawn, st.integers(0, 40), st.booleans())
@example([Node("1", "10.0.0.1", 15, 3, 0.0, False)], 15, False)  # fifteen fifths, whose sum as floats is above 3
def test_no_node_is_asked_for_more_than_it_has(nodes: list[Node], workers: int, without_gpu: bool) -> None:
    refused = {node.id for node in nodes} if without_gpu else set()
    found = ray_nodes.places(nodes, workers, refused)
    assert len({place.key for place in found}) == len(found)
    assert len(found) <= workers or not workers
    for node in nodes:
        here = [place for place in found if place.node == node]
        assert [place.number for place in here] == list(range(len(here)))
        assert len(here) <= node.cpus
        units = [place.gpu * 10_000 for place in here]  # Ray reckons in whole ten-thousandths
        assert units == pytest.approx([round(unit) for unit in units], abs=1e-6)
        assert sum(round(unit) for unit in units) <= 10_000 * node.gpus
        if node.gpus and not without_gpu:
            assert all(place.gpu for place in here)
        else:
            assert not any(place.gpu for place in here)
            assert len(here) <= max(1, node.memory // WORKER_BYTES)


def test_places_are_spread_over_the_nodes_and_gpus_are_shared_as_asked() -> None:
    one, two = Node("1", "a", 8, 0, 1e12, True), Node("2", "b", 8, 2, 1e12, True)
    assert [place.key for place in ray_nodes.places([one, two], 3)] == [("1", 0), ("2", 0), ("1", 1)]
    assert ray_nodes.places([two], 0) == [Place(two, 0, 1.0), Place(two, 1, 1.0)]
    six = ray_nodes.places([two], 6)
    assert [(place.gpu, place.sharing) for place in six] == [(0.3333, 3)] * 6


def test_only_nodes_that_are_up_count_and_a_shared_machine_is_known() -> None:
    def listed(node: str, address: str, up: bool, **resources: float) -> dict[str, Any]:
        return {"NodeID": node, "NodeManagerAddress": address, "Alive": up, "Resources": resources}

    told = [
        listed("1", "10.0.0.1", True, CPU=4.0, GPU=1.0, memory=8e9),
        listed("2", "10.0.0.1", False),
        listed("3", "10.0.0.2", True, CPU=2.0),
        listed("4", "10.0.0.2", True),
    ]
    assert ray_nodes.nodes_up(told) == [
        Node("1", "10.0.0.1", 4, 1, 8e9, True),
        Node("3", "10.0.0.2", 2, 0, 0.0, False),
        Node("4", "10.0.0.2", 0, 0, 0.0, False),
    ]


# --- a job's files on their way back


def telling_again(job: TrialJob, report: ReportTo) -> TrialResult:
    """Goes on from a checkpoint as a training does: tells earlier reports once more, then one of its own."""
    first, second, third = stand_ins.reports_of(job.arch, job.train, (0.5, 1.0, 2.0))
    report(first)
    report(second)
    durable.write_sealed(job.checkpoint, b"newer")
    report(third)
    return stand_ins.result_of(job)


def test_a_checkpoint_travels_once_and_not_with_each_report_that_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_slot, "_hide_main", lambda: None)
    (tmp_path / "node").mkdir()
    for module in (ray_slot, ray_data):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "node")
    slot = Slot(Place(Node("1", "a", 2, 0, 1e12, False), 0, 0.0), telling_again, (), lambda held: held)
    job = stand_ins.job(tmp_path)
    sent = ray_data.shipment(job.data, lambda content: content)
    said = [slot.begin(1, job, sent, ray_data.raw(b"older"))]

    def told_now(kind: type) -> bool:
        return any(isinstance(it, kind) for it in said[-1].happenings)

    told = []
    while not told_now(Finished):
        if told_now(Reported):
            told.append(said[-1].checkpoint)
        said.append(slot.go_on(1) if told_now(Reported) else slot.listen(1))
    assert [None if it is None else it.tobytes() for it in told] == [None, None, b"newer"]
    slot.stop(1)


# --- the images on their way


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


class Store:
    """Ray's object store, with a count of what was fetched from it."""

    def __init__(self) -> None:
        self.fetched = 0

    def get(self, held: ray_data.Raw) -> ray_data.Raw:
        self.fetched += 1
        return held


@pytest.mark.usefixtures("own_cache")
def test_images_are_fetched_once_and_again_where_they_were_altered(tmp_path: Path) -> None:
    data, store = stand_ins.prepared(tmp_path / "data"), Store()
    sent = ray_data.shipment(data, lambda content: content)
    here, fetched = ray_data.local(data, sent, store.get)
    assert (store.fetched, fetched) == (2, data.images.stat().st_size + data.labels.stat().st_size)
    assert here.images != data.images
    assert np.array_equal(here.load().train_images, data.load().train_images)
    assert ray_data.local(data, sent, store.get) == (here, 0)
    here.images.write_bytes(b"something else")
    assert ray_data.local(data, sent, store.get) == (here, data.images.stat().st_size)
    assert store.fetched == 3


@pytest.mark.usefixtures("own_cache")
def test_images_that_are_not_what_was_sent_are_refused(tmp_path: Path) -> None:
    data = stand_ins.prepared(tmp_path / "data")
    sent = ray_data.shipment(data, lambda content: content)
    wrong = Shipment(sent.sha256, np.zeros(10, np.uint8), sent.labels)
    with pytest.raises(FatalError, match="other images came than were sent"):
        ray_data.local(data, wrong, lambda held: held)


def test_a_nodes_folder_must_be_ones_own(own_cache: Path) -> None:
    folder = own_cache / f"fmnist-sweep-node-{os.getuid()}"
    (own_cache / "elsewhere").mkdir()
    folder.symlink_to(own_cache / "elsewhere")
    with pytest.raises(FatalError, match="belongs to somebody else; set TMPDIR"):
        ray_data.cache_folder()
    folder.unlink()
    assert ray_data.cache_folder().stat().st_mode & 0o777 == 0o700
