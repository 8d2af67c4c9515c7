"""The documentation keeps its word: built pages are up to date, what is typed parses, what is named is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from docs import build
from fmnist_sweep import cli, config  # noqa: F401  (loading cli puts the commands into app)
from fmnist_sweep.app import app
from tests.conftest import Study

ROOT = build.FOLDER.parent
PAGES = [*sorted(build.FOLDER.glob("*.md")), ROOT / "README.md"]
NOTEBOOK = build.FOLDER / "study.ipynb"
PROGRAM = "python -m fmnist_sweep "
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fenced(path: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", build.pages())
def test_built_pages_are_up_to_date(name: str) -> None:
    assert (build.FOLDER / name).read_text(encoding="utf-8") == build.pages()[name], "run make docs"


def test_help_fits_eighty_columns() -> None:
    assert max(len(line) for block in fenced(build.FOLDER / "commands.md", "") for line in block.splitlines()) <= 80


def typed(program: str = PROGRAM) -> list[str]:
    """Every call of a program that a page shows."""
    blocks = [block for page in PAGES if page.name != "commands.md" for block in fenced(page, "(?:sh)?")]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line.removeprefix(program) for line in lines if line.startswith(program)})


@pytest.mark.parametrize("line", typed())
def test_what_is_typed_parses(line: str) -> None:
    program = typer.main.get_command(app)
    name, *words = shlex.split(line, comments=True)
    context = program.make_context("sweep", [name, *words], resilient_parsing=True)
    command = program.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, name
    command.make_context(name, words, parent=context)  # raises at an option that there is not


@pytest.mark.parametrize("line", typed("python -m mlflow_server "))
def test_the_servers_options_are_there(line: str) -> None:
    words = shlex.split(line, comments=True)
    name = "serve" if words[0].startswith("--") else words[0]
    asked = [sys.executable, "-m", "mlflow_server", name, "--help"]
    known = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", known))


def test_pages_show_calls_of_the_program() -> None:
    assert {line.split()[0] for line in typed()} >= {"run", "compare", "export", "predict", "preview", "doctor", "ui"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_sweeps_that_are_shown_are_valid(page: Path) -> None:
    for block in fenced(page, "toml"):
        shown = tomllib.loads(block)
        whole = block if "title" in shown else f'title = "shown"\n{block}\n' + ("" if "space" in shown else "[space]\n")
        config.parse(whole, named(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["how-it-works.md", "extending.md"])
def test_files_and_tests_that_are_named_are_there(page: str) -> None:
    text = (build.FOLDER / page).read_text(encoding="utf-8")
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        if "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / "fmnist_sweep" / path).exists(), path
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for name in re.findall(r"`(Test\w+|test_\w+)`", text):
        assert re.search(rf"^ *(class|def) {name}\b", tests, re.MULTILINE), name


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


@pytest.mark.slow
def test_the_notebook_reads_a_finished_study(finished: Study, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(tmp_path / "done.ipynb")],
        cwd=tmp_path,
        env=finished.cli.environment(
            {"FMNIST_SWEEP_HOME": str(finished.home), "FMNIST_SWEEP_STUDY": finished.result["study"]}
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "done.ipynb").read_text(encoding="utf-8")
    for name in ("lab-cnn3-bn-as-intended", "batch_norm", "image/png"):
        assert name in shown
    assert f"{finished.result['lab']['lab-cnn1']['val_accuracy']:.4f}" in shown
