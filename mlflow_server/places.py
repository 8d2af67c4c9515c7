"""Which places for artifacts a request names, and whether they are within the artifact proxy: pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PROXY = "mlflow-artifacts:/"
_NAME = "artifactlocation"


def locations(body: Any) -> Iterator[str]:
    """Every artifact location that a request's JSON names, as a field or as a tag, however deep."""
    if isinstance(body, dict):
        named = body.get("key")
        if isinstance(named, str) and _is_location(named):
            yield str(body.get("value") or "")
        for key, value in body.items():
            if _is_location(key):
                yield str(value or "")
            yield from locations(value)
    elif isinstance(body, list):
        for item in body:
            yield from locations(item)


def allowed(place: str) -> bool:
    """Whether a location is the server's own choice, or within its proxy."""
    inside = place.removeprefix(PROXY)
    return not place or (inside != place and not inside.startswith("/") and ".." not in inside and "%" not in inside)


def _is_location(name: str) -> bool:
    return name.replace("_", "").lower().endswith(_NAME)
