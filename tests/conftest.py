"""Shared by all tests: a clean environment, the real data set, and one small real study that many tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import settings

from benchmarks.nodes import Nodes
from fmnist_sweep import data as datasets
from fmnist_sweep import kernels
from fmnist_sweep.data import Catalogue, DataSource
from tests.home_copies import copy_home
from tests.image_files import fill
from tests.postgres import postgres as postgres
from tests.strategies import CALM

_OURS = ("FMNIST_", "MLFLOW_")
# Of several processes that share the tests, one does all of these modules: Ray's clusters on this machine, workers that
# are killed (the kernel counts those that it kills, for all), one study that many look at, one server.
_TOGETHER = {
    "Ray": ("test_compose_stack", "test_ray", "test_ray_cluster", "test_ray_slots"),
    "kills": ("test_soak", "test_resume", "test_faults_workers", "test_driver_failures", "test_executors"),
    "finished": (
        "test_study_end_to_end", "test_export_real", "test_web_pages", "test_report", "test_doctor",
        "test_faults_study", "test_bad_input", "test_docs",
    ),
    "PostgreSQL": ("test_mlflow_server_team", "test_postgres"),
}  # fmt: skip
_GROUPS = {module: name for name, modules in _TOGETHER.items() for module in modules}

kernels.choose()  # as the workers do, whose figures are compared with this process's
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU adds up in no fixed order, and much here is compared bit for bit

settings.register_profile("calm", CALM)
settings.load_profile("calm")  # every property test: a busy machine is not a failure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes: those groups that take longest begin first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {module: place for place, module in enumerate(_GROUPS)}
        items.sort(key=lambda it: rank.get(it.path.stem, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For several processes: a group of modules, and each other module, stays in one and in order.

    Not by the plugin's marks, which this release of pytest loses on their way.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            module = Path(nodeid.partition("::")[0]).stem
            return _GROUPS.get(module, module)

    return Grouped(config, log)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests leaks in."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def own_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, and servers on this machine without a proxy between."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Where a test's own files of a data set lie."""
    return tmp_path / "origin"


@pytest.fixture
def tiny(origin: Path) -> Catalogue:
    """A data set of a few images at ``origin``."""
    return fill(origin)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs the command line as its users do, in a process of its own, in a folder of its own."""

    folder: Path
    data_dir: Path | None = None

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        data = {"FMNIST_DATA_DIR": str(self.data_dir)} if self.data_dir else {}
        return {**kept, **data, **changes}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "fmnist_sweep", *words]

    def run(
        self, *words: str, timeout_s: float = 480, changes: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(changes),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, *words: str, timeout_s: float = 480) -> dict[str, Any]:
        done = self.run(*words, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def ray_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """One Ray cluster for all tests, with one node of one slot; tests may add nodes, and kill those."""
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    nodes.join()
    yield nodes
    nodes.close()


@pytest.fixture(scope="session")
def source() -> DataSource:
    """The real data set, found as a user's run finds it."""
    return datasets.find(None)


@pytest.fixture
def real_cli(tmp_path: Path, source: DataSource) -> Cli:
    return Cli(tmp_path, source.folder)


SMALL = ("--sweep", "smoke", "--train-images", "2000", "--home", "home")


@dataclass(frozen=True, slots=True)
class Study:
    """A finished study: four trials and the lab's nets on 2,000 real images, in the local store."""

    cli: Cli
    home: Path
    result: dict[str, Any]
    stderr: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, source: DataSource) -> Study:
    if "PYTEST_XDIST_WORKER" in os.environ:  # all processes' folders lie in this one
        (tmp_path_factory.getbasetemp().parent / "finished").touch(exist_ok=False)
    cli = Cli(tmp_path_factory.mktemp("finished"), source.folder)
    done = cli.run("run", *SMALL, "--trials", "4", "--json")
    assert done.returncode == 0, done.stderr
    return Study(cli, cli.folder / "home", json.loads(done.stdout), done.stderr)


COMPARE = ("compare", "--study", "smoke", "--home", "home", "--top", "1", "--seeds", "2", "--tensorboard")


@pytest.fixture(scope="session")
def judged(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A copy of the finished study, after ``compare``, whose object for programs is the result."""
    cli = Cli(tmp_path_factory.mktemp("judged"), finished.cli.data_dir)
    copy_home(finished.home, cli.folder / "home")
    done = cli.run(*COMPARE, "--json")
    assert done.returncode == 0, done.stderr
    return Study(cli, cli.folder / "home", json.loads(done.stdout), done.stderr)
