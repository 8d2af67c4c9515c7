"""What an outage of MLflow costs: the same real sweep with it and without, time and figures compared.

The server is killed in the midst of the sweep, is away for two minutes, then something on its port answers 500 to
everything for one more, then the server is back. The sweep draws its nets at random and trains each in full, so both
runs have the same work to do.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import mlflow_server
from benchmarks import processes
from benchmarks.figures import Difference, Spread
from benchmarks.options import Options
from benchmarks.record import Record
from benchmarks.startup import data_words
from benchmarks.tables import Result, Table
from fmnist_sweep.doctor.comparison import agreement
from fmnist_sweep.errors import FatalError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import mlflow_seen, optuna_seen
from fmnist_sweep.views.mlflow_client import connect
from mlflow_server import RunningServer, ServerSettings

NAME = "outage"
STUDY = "outage"
SWEEP = """
title = "small nets, each trained in full, for benchmarks"
study = { sampler = "random", keep_models = 2 }
fidelity = { pruner = "none", rungs = [1] }

[space]
depth = { choices = [1, 2] }
filters = { choices = [8, 16], per = "block" }
dropout = { low = 0.0, high = 0.4, step = 0.1 }
dense_units = { choices = [32, 64] }
epochs = 5
"""
_WITHOUT, _WITH = "without", "with"
_LOOK_S, _START_S = 1.0, 120.0
_BEGUN = (
    "SELECT COUNT(*) FROM events WHERE kind = 'started' "
    "AND seq <= COALESCE((SELECT seq FROM cursors WHERE view = 'MLflow'), 0)"
)
_OLDEST_WAITING = (
    "SELECT MIN(time) FROM events WHERE seq > COALESCE((SELECT seq FROM cursors WHERE view = 'MLflow'), 0)"
)

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Weather:
    """When MLflow is away.

    Attributes:
        after_s: Seconds to the kill from when MLflow shows that the first trial has started.
        away_s: Seconds during which nothing listens.
        errors_s: Seconds during which each request is answered with 500.
    """

    after_s: float
    away_s: float
    errors_s: float


FULL, QUICK = Weather(60.0, 120.0, 60.0), Weather(2.0, 8.0, 4.0)


def settings(options: Options) -> dict[str, Any]:
    """What is measured."""
    weather = QUICK if options.quick else FULL
    return {
        "trials": options.pick(options.trials, 48, 6),
        "train_images": options.pick(options.train_images, 20_000, 1_000),
        "epochs": options.pick(options.epochs, 5, 3),
        "after_s": weather.after_s,
        "away_s": weather.away_s,
        "errors_s": weather.errors_s,
    }


def run(options: Options, record: Record) -> Result:
    """Measures pair after pair; which of the two comes first changes from pair to pair."""
    chosen = settings(options)
    pairs = options.pick(options.repeats, 2, 1)
    found: dict[str, list[Found]] = {_WITHOUT: [], _WITH: []}
    for pair in range(pairs):
        for how in (_WITHOUT, _WITH) if pair % 2 == 0 else (_WITH, _WITHOUT):
            found[how].append(record.once(f"{how} {pair}", partial(_sweep, options, chosen, how == _WITH)))
    return summed_up(found, chosen, quick=options.quick)


def summed_up(found: Mapping[str, Sequence[Found]], chosen: Found, *, quick: bool) -> Result:
    """Both kinds of runs side by side."""
    rows = []
    for how, runs in found.items():
        for turn, it in enumerate(runs):
            cells = [f"{it[name]:.1f}" for name in ("trials_s", "wall_s", "behind_s")]
            rows.append((f"{how} outage, run {turn + 1}", *cells, f"{it['points']:,}", f"{len(it['missing'])}"))
    takes = {name: {how: [it[name] for it in runs] for how, runs in found.items()} for name in ("trials_s", "wall_s")}
    differences = {name: Difference.of(both[_WITH], both[_WITHOUT]) for name, both in takes.items()}
    said = [_said(what, differences[name]) for name, what in (("trials_s", "the trials"), ("wall_s", "the command"))]
    return Result(
        name=NAME,
        about=f"{chosen['trials']} trials with a real MLflow server, which {chosen['after_s']:g} s after it has "
        f"shown the first trial is killed, is away for {chosen['away_s']:g} s, and answers 500 for "
        f"{chosen['errors_s']:g} s more; and the same sweep without.",
        figures={"runs": {how: list(map(dict, runs)) for how, runs in found.items()}}
        | {name: Spread.of([*both[_WITHOUT], *both[_WITH]]).to_dict() for name, both in takes.items()},
        tables=(
            Table(
                "Seconds, and what MLflow's API has afterwards",
                ("run", "trials", "whole command", "MLflow behind, at most", "points of curves", "missing or wrong"),
                tuple(rows),
                "Trials: from the first one's start to the last one's end. Behind: the longest time from an event's "
                "being in the ledger to its being shown.",
            ),
        ),
        lines=tuple(said),
        quick=quick,
    )


def _said(what: str, difference: Difference) -> str:
    error = "" if difference.standard_error is None else f" ± {difference.standard_error:.1f} (standard error)"
    return f"With the outage {what} took {difference.estimate:+.1f}{error} s."


def _sweep(options: Options, chosen: Found, outage: bool) -> dict[str, Any]:
    """One run in a new home, beside a new server."""
    folder = (options.out / NAME / time.strftime("run-%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True)
    sweep = folder / "sweep.toml"
    sweep.write_text(SWEEP)
    home = Home(folder / "home")
    with Tracker(folder) as tracker:
        words = ["fmnist_sweep", "run", "--sweep", str(sweep), "--study", STUDY, "--home", str(home.path), "--no-lab"]
        words += ["--trials", str(chosen["trials"]), "--train-images", str(chosen["train_images"]), "--json"]
        words += ["--epochs", str(chosen["epochs"]), "--tracking-uri", tracker.uri, *data_words(options)]
        watch = Watch(home.study(STUDY).ledger)
        weather = Weather(chosen["after_s"], chosen["away_s"], chosen["errors_s"])
        with tracker.outage(weather, watch.begun) if outage else nullcontext():
            ran = processes.run(words, folder, look=lambda _: watch.look())
        events = watch.events()
        missing, points = delivered(home, tracker.uri, events)
    if outage and not tracker.back_at < _last(events):
        raise FatalError(f"{NAME}: the sweep ended before the outage was over; valid: more --trials")
    began = next(event.time for event in events if event.kind == "started")
    return {
        "wall_s": ran.wall_s,
        "trials_s": _last(events) - began,
        "behind_s": watch.behind_s,
        "points": points,
        "missing": missing,
    }


def _last(events: Sequence[Event]) -> float:
    return max(event.time for event in events if event.kind == "ended")


def delivered(home: Home, uri: str, events: Sequence[Event]) -> tuple[list[str], int]:
    """What MLflow's API lacks of the ledger or has otherwise, and how many points of curves it has."""
    state = StudyState.of(events)
    seen = mlflow_seen.read(uri, state)
    optuna = optuna_seen.read(home.optuna_uri, STUDY, state.study["id"])
    missing = [finding.what for finding in agreement(state, seen, optuna)]
    client, points = connect(uri), 0
    for job in state.trials():
        history = client.get_metric_history(job.run_id, "val_accuracy")
        points += len(history)
        if sorted(point.value for point in history) != sorted(report.val_accuracy for report in job.reports):
            missing.append(f"{job.key}: its curve in MLflow is not the ledger's")
    return missing, points


class Watch:
    """How far a study in another process is, read from its ledger's file.

    Args:
        path: Of the ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = 0.0
        self.begun = threading.Event()  # a trial is being trained, and MLflow shows it
        self.behind_s = 0.0  # the longest that MLflow was behind so far

    def look(self) -> None:
        """Looks once a second, without a lock that the study might have to wait for."""
        if time.monotonic() - self._looked < _LOOK_S or not self._path.exists():
            return
        self._looked = time.monotonic()
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as ledger:
                (oldest,) = ledger.execute(_OLDEST_WAITING).fetchone()
                (begun,) = ledger.execute(_BEGUN).fetchone()
        except sqlite3.OperationalError:  # its tables are being made
            return
        if begun:
            self.begun.set()
        if oldest is not None:
            self.behind_s = max(self.behind_s, time.time() - oldest)

    def events(self) -> list[Event]:
        """All that has happened, once the study has ended."""
        with closing(Ledger(self._path)) as ledger:
            return ledger.events()


class Tracker:
    """A real MLflow server that goes away and comes back on the same port; leaving its ``with`` block ends it.

    Args:
        folder: For its database, artifacts and log.
    """

    def __init__(self, folder: Path) -> None:
        place = ServerSettings(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlartifacts"), port=0)
        self._settings = mlflow_server.settled(place)
        self._log = folder / "mlflow-server.log"
        self._server: RunningServer | None = None
        self._closing = threading.Event()
        self.back_at = 0.0  # seconds since 1970 when it was there again
        self._start()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def uri(self) -> str:
        """Where clients find it."""
        return self._settings.uri

    def be_away(self, weather: Weather) -> None:
        """Is killed, answers nothing, then 500, then comes back; returns when that is done."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.stop()
        self._closing.wait(weather.away_s)
        with answering_500(self._settings.connect_host, self._settings.port):
            self._closing.wait(weather.errors_s)
        self._start()
        self.back_at = time.time()

    @contextmanager
    def outage(self, weather: Weather, since: threading.Event) -> Iterator[None]:
        """While it is entered, the outage takes its course, ``weather.after_s`` after ``since``."""

        def course() -> None:
            since.wait()
            self._closing.wait(weather.after_s)
            self.be_away(weather)

        thread = threading.Thread(target=course, daemon=True, name="outage")
        thread.start()
        try:
            yield
        finally:
            self._closing.set()  # what is left of it is not waited for
            since.set()
            thread.join()
            self._closing.clear()

    def _start(self) -> None:
        self._server = mlflow_server.start(self._settings, log=self._log, timeout_s=_START_S)


class _Only500(BaseHTTPRequestHandler):
    """Answers everything with 500."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_error(500)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def answering_500(host: str, port: int) -> Iterator[None]:
    """While it is entered, each request to that port is answered with 500."""
    with ThreadingHTTPServer((host, port), _Only500) as stand_in:
        thread = threading.Thread(target=stand_in.serve_forever, daemon=True, name="answers 500")
        thread.start()
        try:
            yield
        finally:
            stand_in.shutdown()
            thread.join()
