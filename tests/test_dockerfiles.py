"""The images: rules that the Dockerfiles keep, and what goes into a build."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.programs import ROOT
from tests.compose.stack import DOCKERFILES, PINNED

STAND_INS = sorted((ROOT / "tests/compose/images").glob("*/Dockerfile"))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def stages(dockerfile: Path) -> Iterator[list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found = instructions(dockerfile)
    starts = [at for at, (word, _) in enumerate(found) if word == "FROM"]
    for at, start in enumerate(starts):
        yield found[start : starts[at + 1] if at + 1 < len(starts) else None]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_is_pinned_small_and_for_somebody(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    defaults = dict(text.split("=", 1) for word, text in found if word == "ARG")
    assert set(defaults) == {"PYTHON_IMAGE"}
    assert PINNED.fullmatch(defaults["PYTHON_IMAGE"])
    *building, last = stages(dockerfile)
    assert all(stage[0][1].split(" AS ")[0] == "${PYTHON_IMAGE}" for stage in [*building, last])
    assert building
    users = [text for word, text in last if word == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])
    told = "\n".join(text for _, text in last)
    assert not re.search(r"\bpip\b|build-essential|\bgcc\b|\bgit\b", told)
    assert {word for word, _ in found} <= {"ARG", "FROM", "WORKDIR", "ENV", "RUN", "COPY", "USER", "ENTRYPOINT", "CMD"}


@pytest.mark.parametrize("dockerfile", [*DOCKERFILES, *STAND_INS], ids=lambda path: path.parent.name)
def test_a_dockerfile_takes_nothing_from_elsewhere(dockerfile: Path) -> None:
    for word, text in instructions(dockerfile):
        assert word != "ADD"
        assert not re.search(r"https?://|:latest|\bsudo\b|curl|wget", text)
        assert not re.search(r"(?i)(password|token|secret|key)\w*=", text)
        if "apt-get install" in text:
            assert "--no-install-recommends" in text
            assert "apt-get update" in text
            assert "rm -rf /var/lib/apt/lists/*" in text


def test_what_goes_into_a_build_is_what_the_images_copy() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    copied = {
        name
        for dockerfile in DOCKERFILES
        for word, text in instructions(dockerfile)
        if word == "COPY" and "--from" not in text
        for name in text.split()[:-1]
    }
    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)


def test_requirements_are_the_projects(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(ROOT / "docker/requirements.py")

    def printed(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [script, str(ROOT / "pyproject.toml"), *words])
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out.split("\n")

    everything = printed("--extras", "ray")
    assert any(line.startswith("tensorflow>=") for line in everything)
    assert any(line.startswith("ray") for line in everything)
    assert [line.split(">")[0] for line in printed("--only", "mlflow", "keras") if line] == ["mlflow", "keras"]
    with pytest.raises(SystemExit, match=r"has no mlfow, rey; valid: tensorflow, "):
        printed("--only", "mlfow", "--extras", "rey")
