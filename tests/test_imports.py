"""The architecture, read from the imports: who may use which library, and which way the arrows go."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import fmnist_sweep

ROOT = Path(fmnist_sweep.__file__).parent
PACKAGE = "fmnist_sweep"

# From the bottom to the top: a module may import what stands before it.
LAYERS = {
    "values": "errors addresses kernels quiet checks arch arithmetic lab schema mistakes config space scores "
    "duplicates counts stats wording verdicts",
    "files and state": "durable sqlite_birth wal fetch data.arrays data.imageset data.source "
    "data.fashion_mnist data.prepared data home settings ledger trial state pruning estimate deadline",
    "training": "fused model augment train precision testing",
    "executors": "executors.base executors executors.worker executors.inline executors.kernel executors.limits "
    "executors.gpu executors.local executors.preload executors.standby executors.ray_keeper executors.ray_cluster "
    "executors.ray_nodes executors.ray_data executors.ray_slot executors.ray",
    "proposers": "curve_model proposers.base proposers.features proposers.draws proposers.curves proposers.grid "
    "proposers.optuna proposers.keras_tuner proposers.make proposers",
    "views": "views.mirror views views.optuna_open views.optuna_claim views.optuna_storage "
    "views.mlflow_moved views.mlflow_client views.registry views.shown views.pages views.mlflow_runs "
    "views.seen views.mlflow_seen views.optuna_seen views.tensorboard",
    "a study": "pasts running twins jobs ending driver provenance study aside "
    "exporting.base exporting.keras exporting.saved_model exporting.onnx exporting.litert exporting.formats "
    "exporting.checks exporting.accuracy exporting.manifest exporting.card exporting.examples exporting.folder "
    "exporting publish delivery display conclusion summary finals standings champion session",
    "the report": "report.parts report.nets report.search report.importance report.images report.origin "
    "report.facts report.says report.look report.final_charts report.search_charts report.page report.text report",
    "the doctor": "doctor.words doctor.findings doctor.records doctor.models doctor.trials doctor.comparison "
    "doctor.files doctor.look doctor.recover doctor.mend doctor.visit doctor",
    "commands": "commands commands.closing commands.export commands.listing commands.preview commands.predict "
    "commands.run",
    "command line": "commands.status commands.ui commands.compare commands.report commands.doctor options app "
    "cli_studies cli_tools cli __main__",
}
ORDER = [name for layer in LAYERS.values() for name in layer.split()]
UPWARD_WHEN_CALLED = {("trial", "train")}  # so that TensorFlow loads in the worker alone

# By foreign library: the modules that may import it at once, and those that may when a function is called.
ANYWHERE = set(ORDER)
COMMANDS = {name for name in ORDER if name.startswith("commands.")}
EXPORTING = {f"exporting.{name}" for name in ("keras", "saved_model", "litert", "checks")}
LATER_KERAS = {"publish", "quiet", *EXPORTING}
VIEWS = {"views.mlflow_client", "views.mlflow_runs", "views.optuna_storage"}
OPTUNA_VIEWS = {"views.optuna_open", "views.optuna_claim", "views.optuna_storage", "views.optuna_seen"}
OWNERS: dict[str, tuple[set[str], set[str]]] = {
    "keras": ({"fused", "model", "train", "augment"}, LATER_KERAS),
    "tensorflow": ({"fused", "model", "train", "augment", "precision"}, LATER_KERAS),
    "optuna": ({"proposers.optuna", *OPTUNA_VIEWS, "report.importance"}, set()),
    "sqlalchemy": ({"views.optuna_open"}, set()),
    "mlflow": (set(), {*VIEWS, "publish", "doctor.recover"}),
    "pydantic": ({"schema", "mistakes", "config"}, set()),
    "typer": ({"app", "options", "cli_studies", "cli_tools", "cli"}, set()),
    "rich": ({"display", *COMMANDS}, {"app"}),
    "scipy": ({"curve_model", "proposers.curves"}, {"counts", "stats", "verdicts"}),
    "keras_tuner": ({"proposers.keras_tuner"}, set()),
    "threadpoolctl": ({"proposers.curves", "proposers.keras_tuner"}, {"estimate"}),
    "requests": (set(), {"fetch", "views.mlflow_client"}),
    "urllib3": (set(), {"fetch"}),
    "PIL": (set(), {"commands.predict", "testing"}),
    "tensorboard": (set(), {"views.tensorboard"}),
    "plotly": ({"report.look", "report.final_charts", "report.search_charts", "report.page"}, set()),
    "jinja2": ({"report.page"}, set()),
    "markupsafe": ({"report.page"}, set()),
    "onnxruntime": (set(), {"exporting.onnx"}),
    "ray": (set(), {"executors.ray_cluster", "executors.ray_keeper"}),
    "ai_edge_litert": (set(), {"exporting.litert"}),
    "numpy": (ANYWHERE, ANYWHERE),
    "mlflow_server": (COMMANDS, COMMANDS),
}


class Arrow(NamedTuple):
    """One import; ``at_once``: when the importing module is loaded."""

    source: str
    target: str
    at_once: bool


def nodes(tree: ast.AST, at_once: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import below ``tree``; those for type checkers alone don't run at once."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_once
        delayed = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        yield from nodes(node, at_once and not delayed and not typing_only)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def arrows(source: str) -> Iterator[Arrow]:
    """What ``source`` imports: modules of this package by their name in it, others by the library's."""
    for node, at_once in nodes(ast.parse(MODULES[source].read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} has a relative import"
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            library, _, rest = name.partition(".")
            if library != PACKAGE:
                yield Arrow(source, library, at_once)
                continue
            parts = rest.split(".")
            prefixes = {".".join(parts[:count]) for count in range(1, len(parts) + 1)} & set(MODULES)
            for target in prefixes - {source} - {source.rpartition(".")[0]}:
                yield Arrow(source, target, at_once)


ARROWS = [arrow for source in MODULES for arrow in arrows(source)]


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(set(MODULES) - {"__init__"})
    assert {(source, target) for source, target, at_once in ARROWS if not at_once} >= UPWARD_WHEN_CALLED


def test_arrows_go_down() -> None:
    upward = {
        (source, target, at_once)
        for source, target, at_once in ARROWS
        if target in MODULES and ORDER.index(target) > ORDER.index(source)
    }
    assert upward == {(*arrow, False) for arrow in UPWARD_WHEN_CALLED}


def test_foreign_libraries_stay_with_their_owners() -> None:
    strays = []
    for source, target, at_once in ARROWS:
        if target not in MODULES and target not in sys.stdlib_module_names:
            now, later = OWNERS.get(target, (set(), set()))
            if source not in (now if at_once else now | later):
                strays.append(f"{source} imports {target}" + (" at once" if at_once else ""))
    assert not strays


def test_the_server_knows_nothing_of_the_sweep() -> None:
    for path in (ROOT.parent / "mlflow_server").rglob("*.py"):
        for node, _ in nodes(ast.parse(path.read_text(encoding="utf-8"))):
            assert PACKAGE not in ast.unparse(node), path


def test_what_is_not_at_once() -> None:
    lines = (
        "import a",
        "if TYPE_CHECKING: import b",
        "def f(): import c",
        "class K:",
        " import d",
        " def m(self): import e",
    )
    found = {node.names[0].name: at_once for node, at_once in nodes(ast.parse("\n".join(lines)))}
    assert found == {"a": True, "b": False, "c": False, "d": True, "e": False}


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    heavy = ("tensorflow", "keras", "mlflow", "ray", "keras_tuner", "optuna", "pandas", "scipy", "plotly")
    code = (
        "import sys; from fmnist_sweep import cli\n"
        "try: cli.main()\n"
        f"finally: print('LOADED', *(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
