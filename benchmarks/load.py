"""What a trial costs the servers that show a study: a real MLflow server and Optuna's storage, both on PostgreSQL.

The product's own views show a study's last trials, as the driver's threads do, but one after the other and with
nothing to wait for. A large study is made of copies of a small one's rows, with the ledger to match.
"""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import mlflow_server
from benchmarks import crowd, images, ledgers, simulated
from benchmarks.meters import Meters
from benchmarks.options import Options
from benchmarks.postgres import Postgres, new_cluster
from benchmarks.record import Record
from benchmarks.tables import Result, Table
from fmnist_sweep import config as sweeps
from fmnist_sweep import lab, proposers, study
from fmnist_sweep.data import DataSource, PreparedData
from fmnist_sweep.data.fashion_mnist import FASHION_MNIST
from fmnist_sweep.driver import Driver
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.proposers import Task
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan
from fmnist_sweep.views import View
from mlflow_server import Auth, ServerSettings

NAME = "load"
WORKERS = 100
_IMAGES = 100
_LOOKS = 5
_POSTGRES = (
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track_utility=on",
    "max_wal_size=4GB",
    "shared_buffers=512MB",
)


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    return {
        "sizes": [0, 30] if options.quick else [0, 1_000, 10_000, 100_000],
        "more_trials": options.pick(options.trials, 300, 10),
        "workers": WORKERS,
    }


def run(options: Options, record: Record) -> Result:
    """Measures size by size, all on the same servers; what an earlier call measured is not measured again."""
    chosen = settings(options)
    sizes: dict[int, Mapping[str, Any]] = {}
    with running(options.out / NAME, images.source(options)) as servers:
        for size in chosen["sizes"]:
            sizes[size] = record.once(f"size {size}", lambda size=size: servers.at_size(size, chosen["more_trials"]))  # type: ignore[misc]
    return Result(
        name=NAME,
        about=f"The product's views of {chosen['more_trials']} trials of `default`, drawn by {WORKERS} simulated "
        "workers, shown in a real MLflow server with users and in Optuna's storage, both on one PostgreSQL; in "
        "studies that have so many trials before.",
        figures={str(size): dict(found) for size, found in sizes.items()},
        tables=(_view_table("MLflow", sizes), _view_table("Optuna", sizes), _look_table(sizes)),
        quick=options.quick,
    )


@contextmanager
def running(folder: Path, source: DataSource) -> Iterator[Servers]:
    """PostgreSQL and an MLflow server on it, which end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    password = secrets.token_hex(12)
    logged_in = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        postgres = new_cluster(place, _POSTGRES)
        stack.callback(postgres.stop)
        runs, storage = postgres.create("mlflow"), postgres.create("optuna")
        for uri in (runs, storage):
            postgres.execute(_name(uri), "CREATE EXTENSION pg_stat_statements")
        wanted = ServerSettings(runs, str(place / "mlartifacts"), port=0, auth=Auth(password))
        server = stack.enter_context(
            mlflow_server.start(mlflow_server.settled(wanted), log=folder / "mlflow-server.log", timeout_s=120)
        )
        stack.enter_context(mock.patch.dict(os.environ, logged_in))
        yield Servers(folder, source, postgres, runs, storage, server.uri, server.pid)


@dataclass(slots=True)
class Servers:
    """What the studies are shown in.

    Attributes:
        folder: For the ledgers.
        source: The data set that the studies are told to have.
        postgres: The cluster.
        runs: Address of MLflow's database.
        storage: Address of Optuna's.
        tracking_uri: Of MLflow's server.
        tracking_pid: The leader of its process group.
        template: The small study that large ones are copies of; None until it is there.
    """

    folder: Path
    source: DataSource
    postgres: Postgres
    runs: str
    storage: str
    tracking_uri: str
    tracking_pid: int
    template: Study | None = None

    def at_size(self, size: int, more: int) -> dict[str, Any]:
        """Shows ``more`` trials of a study that has ``size`` already."""
        print(f"load: {size:,} trials", file=sys.stderr)
        if size and self.template is None:
            self._show(0, more)
        return self._show(size, more)

    def _show(self, size: int, more: int) -> dict[str, Any]:
        made = Study.make(self.folder, self.source, size, more)
        found: dict[str, Any] = {}
        with closing(Ledger(made.ledger)) as ledger:
            events = ledger.events()
            past, news = events[: made.known], events[made.known :]
            for name, view in self._views(made, ledger):
                view.open([event for event in past if event.kind == "study"])  # or it would show what is filled in next
                self._fill(name, made, ledger, size)
                found[name] = self._measure(name, view, past, news, more)
            made = replace(made, experiment=_experiment(ledger))
        found["looks_s"] = self._looks(made)
        if not size:
            self.template = made
        made.ledger.unlink()
        return found

    def _views(self, made: Study, ledger: Ledger) -> Iterator[tuple[str, View]]:
        from fmnist_sweep.views.mlflow_runs import MlflowView
        from fmnist_sweep.views.optuna_storage import OptunaView

        yield "MLflow", MlflowView(self.tracking_uri, ledger, made.ledger.parent / "mlartifacts", lab.ABOUT)
        yield "Optuna", OptunaView(self.storage, made.name)

    def _fill(self, name: str, made: Study, ledger: Ledger, size: int) -> None:
        import psycopg

        if not size or self.template is None:
            return
        uri = self.runs if name == "MLflow" else self.storage
        with psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as connection:
            if name == "MLflow":
                crowd.fill_mlflow(connection, self.template.experiment, _experiment(ledger), size)
            else:
                crowd.fill_optuna(connection, self.template.name, made.name, size)

    def _measure(
        self, name: str, view: View, past: Sequence[Event], news: Sequence[Event], more: int
    ) -> dict[str, float]:
        """What one trial costs, of each kind of thing."""
        state = StudyState.of(past)
        shown = [event for event in news if event.kind in view.shows]
        with Meters(self.postgres, _name(self.runs if name == "MLflow" else self.storage), self.tracking_pid) as meters:
            for event in news:
                state.apply(event)
                if event.kind in view.shows:
                    view.take(event, state)
        return {what: value / more for what, value in meters.spent.items()} | {"events": len(shown) / more}

    def _looks(self, made: Study) -> dict[str, float]:
        """Seconds until MLflow has answered what its page of runs asks: the newest, and the best."""
        from fmnist_sweep.views.mlflow_client import connect

        client, found = connect(self.tracking_uri), {}
        for what, order in (
            ("newest", "attributes.start_time DESC"),
            ("best", "metrics.best_val_accuracy DESC"),
        ):
            times = []
            for _ in range(_LOOKS):
                began = time.perf_counter()
                client.search_runs([made.experiment], max_results=100, order_by=[order])
                times.append(time.perf_counter() - began)
            found[what] = statistics.median(times)
        return found


@dataclass(frozen=True, slots=True)
class Study:
    """A study on paper: its ledger is there, nobody shows it yet.

    Attributes:
        name: What it is called everywhere.
        ledger: Its file.
        known: Events of the trials that it had before.
        experiment: MLflow's id of it; "" until it is shown there.
    """

    name: str
    ledger: Path
    known: int
    experiment: str = ""

    @classmethod
    def make(cls, folder: Path, source: DataSource, size: int, more: int) -> Study:
        """Writes a ledger of ``size`` ended trials, and lets the product's driver go on for ``more``."""
        name = f"load-{size}-{time.strftime('%Y%m%d-%H%M%S')}"
        home = Home(folder / name)
        place = home.study(name)
        place.path.mkdir(parents=True)
        data, config = _images(home.path), sweeps.load("default")[1]
        task = Task(config, data.image_shape, data.classes, 0)
        known = ledgers.write(place.ledger, task, size, _identity(home, name, source, data))
        with closing(Ledger(place.ledger)) as ledger:
            driver = Driver(
                ledger=ledger,
                task=task,
                data=simulated.nothing(task),
                folder=place,
                proposer=proposers.make(task),
                executor=simulated.Simulated(WORKERS),
            )
            driver.run(size + more)
        return cls(name, place.ledger, known)


def _identity(home: Home, name: str, source: DataSource, data: PreparedData) -> dict[str, Any]:
    """What the product writes about a study when it begins."""
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "ledger.db")) as ledger:
        plan = Plan(name, "default", sweeps.load("default")[1], 0)
        return study.begin(ledger, plan, Settings(home), source, data)


def _images(folder: Path) -> PreparedData:
    """A few images that nobody looks at."""
    images, labels = folder / "images.npy", folder / "labels.npy"
    np.save(images, np.zeros((_IMAGES, *FASHION_MNIST.image_shape), np.uint8))
    np.save(labels, np.zeros(_IMAGES, np.uint8))
    return PreparedData(images, labels, FASHION_MNIST.image_shape, FASHION_MNIST.class_names, "simulated")


def _experiment(ledger: Ledger) -> str:
    told = [event.body["experiment_id"] for event in ledger.events() if "experiment_id" in event.body]
    return str(told[-1])


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _view_table(name: str, sizes: Mapping[int, Mapping[str, Any]]) -> Table:
    rows = []
    for size, found in sizes.items():
        it = found[name]
        rows.append(
            (
                f"{size:,}",
                f"{it['requests']:.1f}" if name == "MLflow" else "none",
                f"{it['statements']:.0f}",
                f"{1000 * it['server_cpu_s']:.0f} ms" if name == "MLflow" else "none",
                f"{1000 * it['postgres_cpu_s']:.1f} ms",
                f"{it['wal_bytes'] / 1000:.0f} kB",
                f"{it['database_bytes'] / 1000:.0f} kB",
                f"{1000 * it['own_cpu_s']:.0f} ms",
                f"{60 / it['wall_s']:,.0f}",
            )
        )
    return Table(
        f"{name}: what one trial costs" if name == "MLflow" else "Optuna's storage: what one trial costs",
        (
            "trials before", "requests", "SQL statements", "MLflow's CPU", "PostgreSQL's CPU", "write-ahead log",
            "database grows by", "driver's CPU", "trials shown in a minute",
        ),
        tuple(rows),
        "Means. CPU: all processes of each server. The last column: how many trials the driver's one thread for this "
        "view shows in a minute if it never rests, on these cores, which server and database share.",
    )  # fmt: skip


def _look_table(sizes: Mapping[int, Mapping[str, Any]]) -> Table:
    return Table(
        "MLflow's answer to its own page of runs",
        ("trials before", "the newest 100", "the best 100"),
        tuple(
            (f"{size:,}", *(f"{found['looks_s'][what]:.2f} s" for what in ("newest", "best")))
            for size, found in sizes.items()
        ),
        f"Median of {_LOOKS}.",
    )
