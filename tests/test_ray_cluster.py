"""How a Ray cluster is connected to: what is tried again, what is refused, and what people are told."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from fmnist_sweep.errors import FatalError, UsageError
from fmnist_sweep.executors import ray_cluster
from tests.conftest import Cli

CLIENT = "ray://10.0.0.7:10001"
LOST = ConnectionAbortedError("Initialization failure from server:\nTraceback (most recent call last):\n  it died\n")


@pytest.fixture
def inits(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Exception | None]], list[str]]:
    """Gives Ray's ``init`` its ends, one for each call; returns the addresses that it is called with."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "_wait", lambda _: None)

    def answering(answers: list[Exception | None]) -> list[str]:
        called: list[str] = []

        def init(address: str, **_: Any) -> None:
            called.append(address)
            answer = answers[len(called) - 1]
            if answer is not None:
                raise answer

        monkeypatch.setattr(ray, "init", init)
        return called

    return answering


def test_a_client_whose_server_dies_at_birth_gets_another(
    inits: Callable[[list[Exception | None]], list[str]],
) -> None:
    called = inits([LOST, LOST, None])
    assert ray_cluster.connect(CLIENT).address == CLIENT
    assert called == [CLIENT] * 3


def test_a_client_that_is_never_served_is_told_why(inits: Callable[[list[Exception | None]], list[str]]) -> None:
    called = inits([LOST] * 20)
    with pytest.raises(FatalError) as told:
        ray_cluster.connect(CLIENT)
    assert 3 <= len(called) < 20
    assert str(told.value).startswith(
        f"no Ray cluster can be used at {CLIENT!r}: Initialization failure from server: it died"
    )
    assert "\n" not in str(told.value)
    assert "ray start" not in str(told.value)  # a client needs no node here


def test_other_errors_are_told_at_once(inits: Callable[[list[Exception | None]], list[str]]) -> None:
    address = "10.0.0.7:6379"
    for where, error in ((address, LOST), (CLIENT, ValueError("no such thing")), (CLIENT, ConnectionError("timeout"))):
        called = inits([error] * 20)
        with pytest.raises(FatalError, match="no Ray cluster can be used"):
            ray_cluster.connect(where)
        assert called == [where]
    inits([LOST])
    with pytest.raises(FatalError, match=f"ray start --address={address}"):
        ray_cluster.connect(address)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs the package ray; install it with: pip install 'fmnist-sweep\[ray\]'"):
        ray_cluster.require()


def test_an_address_needs_the_executor(cli: Cli) -> None:
    done = cli.run("run", "--ray-address", "10.0.0.7:6379")
    assert done.returncode == 2
    assert "--ray-address is '10.0.0.7:6379'; it needs --executor ray" in " ".join(done.stderr.split())
