"""Whose the champion's alias is: by data set, by right, and where the server says no."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fmnist_sweep import publish
from fmnist_sweep.arch import ArchSpec
from fmnist_sweep.publish import Publication, Title
from fmnist_sweep.views import mlflow_client
from fmnist_sweep.views.mlflow_client import patiently
from fmnist_sweep.views.registry import DataMark, champion_of
from tests.mlflow_stand_in import NotThereError

CLOTHES, DIGITS = DataMark("fashion-mnist", "c" * 16), DataMark("My Digits!", "d" * 16)


class Registry:
    """A server with one registered model's versions and aliases."""

    def __init__(self) -> None:
        self.versions: list[SimpleNamespace] = []
        self.aliases: dict[str, str] = {}

    def get_model_version_by_alias(self, _: str, alias: str) -> Any:
        if alias not in self.aliases:
            raise NotThereError
        return self.versions[int(self.aliases[alias]) - 1]

    def search_registered_models(self, _: str) -> list[str]:
        return ["there"]

    def search_model_versions(self, query: str) -> list[Any]:
        return [it for it in self.versions if f"'{it.tags['sweep.model_sha256']}'" in query]

    def get_logged_model(self, model: str) -> str:
        return model

    def create_model_version(self, _: str, source: str, tags: dict[str, str], description: str, **__: str) -> Any:
        number = str(len(self.versions) + 1)
        self.versions.append(SimpleNamespace(version=number, source=source, tags=tags, description=description))
        return self.versions[-1]

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        self.aliases[alias] = version


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(publish, "connect", lambda _: made)
    return made


def crown(study: str, accuracy: float, data: DataMark) -> str:
    net = ArchSpec(input_shape=(8, 8, 1), classes=3, blocks=(), dense=(4,))
    item = Publication("trial-0001", f"run-{study}", net, None, f"sha-{study}", ("a", "b", "c"))  # type: ignore[arg-type]
    return publish.crown("http://team", item, f"models:/{study}", Title(study, "search", accuracy, "why", data)).line


def test_champions_of_other_images_do_not_compete(registry: Registry) -> None:
    assert "@champion is version 1" in crown("clothes", 0.93, CLOTHES)
    assert "@champion-my-digits is version 2" in crown("digits", 0.99, DIGITS)
    assert "@champion-my-digits stays with another study's" in crown("worse digits", 0.98, DIGITS)
    assert "@champion is version 3" in crown("better clothes", 0.94, CLOTHES)
    assert "@champion-my-digits is version 2 already" in crown("digits", 0.99, DIGITS)
    assert registry.aliases == {"champion": "3", "champion-my-digits": "2"}
    assert champion_of(registry, CLOTHES)[1].tags["sweep.data"] == CLOTHES.fingerprint


def test_whoever_is_first_has_the_plain_alias_and_an_older_releases_version_counts_as_ones_own(
    registry: Registry,
) -> None:
    assert champion_of(registry, DIGITS) == ("champion", None)
    crown("digits", 0.9, DIGITS)
    assert champion_of(registry, DIGITS)[0] == "champion"
    assert champion_of(registry, CLOTHES) == ("champion-fashion-mnist", None)
    del registry.versions[0].tags["sweep.data"]
    assert champion_of(registry, CLOTHES)[0] == "champion"


def test_a_user_who_may_not_move_the_alias_is_told_and_has_delivered_all(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RefusedError(Exception):
        error_code = "PERMISSION_DENIED"

        def get_http_status_code(self) -> int:
            return 403

    def refuse(*_: Any, **__: Any) -> None:
        raise RefusedError

    monkeypatch.setattr(registry, "create_model_version", refuse)
    monkeypatch.setattr(mlflow_client, "may_come_back", lambda *_: False)
    assert "stays as it is: this user may not move it" in crown("theirs", 0.9, CLOTHES)


@pytest.mark.parametrize(("failures", "raises"), [(0, False), (2, False), (3, True)])
def test_a_server_that_is_away_for_a_moment_is_asked_again(
    failures: int, raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def do() -> str:
        calls.append(1)
        if len(calls) <= failures:
            raise ConnectionError
        return "done"

    monkeypatch.setattr(mlflow_client, "_RETRY_AFTER_S", (0.0, 0.0))
    if raises:
        with pytest.raises(ConnectionError):
            patiently("http://team", do)
    else:
        assert patiently("http://team", do) == "done"
    assert len(calls) == min(failures, 2) + 1


def test_what_will_not_come_back_is_asked_for_once() -> None:
    calls = []

    def do() -> None:
        calls.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        patiently("sqlite:////x/mlflow.db", do)
    assert calls == [1]
