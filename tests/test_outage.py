"""The benchmark of an outage: a server that really goes away, answers 500 and comes back; and its figures."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks import outage
from benchmarks.options import Options
from benchmarks.outage import Tracker, Weather, answering_500
from fmnist_sweep.ledger import Ledger
from mlflow_server import ServerSettings, settled
from tests.stand_ins import wait_for


def answer(uri: str) -> str:
    """What a client meets with: a status, or nobody."""
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=20) as found:
            return str(found.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return "nobody"


def free_port() -> int:
    return settled(ServerSettings("sqlite:////x/a.db", "/x", port=0)).port


def test_everything_is_answered_with_500_and_then_by_nobody() -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with answering_500("127.0.0.1", port):
        request = urllib.request.Request(f"{uri}/api/2.0/mlflow/runs/create", data=b"x" * 10_000, method="POST")
        with pytest.raises(urllib.error.HTTPError, match="500") as caught:
            urllib.request.urlopen(request, timeout=20)
        caught.value.close()
        assert answer(uri) == "500"
    assert answer(uri) == "nobody"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_server_goes_answers_500_and_comes_back_on_its_port(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        assert answer(tracker.uri) == "200"
        begun = threading.Event()
        with tracker.outage(Weather(0.0, 600.0, 600.0), begun):  # cut short when it is left
            assert answer(tracker.uri) == "200"
            begun.set()
            wait_for(lambda: answer(tracker.uri) == "nobody", "the server's end")
        assert answer(tracker.uri) == "200"
        assert tracker.back_at > 0


def test_the_watch_tells_how_far_mlflow_is_behind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        watch = outage.Watch(tmp_path / "ledger.db")
        ledger.append("study")
        watch.look()
        assert not watch.begun.is_set()
        early = watch.behind_s
        ledger.append("started", "trial-0000", 1)
        watch._looked = 0.0
        watch.look()
        assert watch.behind_s > early
        assert not watch.begun.is_set()
        ledger.advance("MLflow", ledger.last())
        behind, watch._looked = watch.behind_s, 0.0
        watch.look()
        assert watch.begun.is_set()
        assert watch.behind_s == behind
        assert len(watch.events()) == 2
    finally:
        ledger.close()


def test_both_kinds_of_runs_are_compared_and_what_is_missing_is_counted() -> None:
    def found(trials_s: float, *missing: str) -> dict[str, object]:
        figures = {"trials_s": trials_s, "wall_s": trials_s + 20, "behind_s": 1.0, "points": 30}
        return {**figures, "missing": list(missing)}

    runs = {"without": [found(100.0), found(102.0)], "with": [found(103.0), found(101.0, "a curve")]}
    result = outage.summed_up(runs, outage.settings(Options(quick=True)), quick=True)
    text = result.tables[0].markdown()
    assert "| with outage, run 2 | 101.0 | 121.0 | 1.0 | 30 | 1 |" in text
    assert result.lines[0].startswith("With the outage the trials took +1.0 ± ")
