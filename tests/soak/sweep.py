"""One real sweep, the command that is given again whenever it ended too early, and the faults that hit it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fmnist_sweep.settings import Settings
from tests.soak import processes
from tests.soak.faults import Fault
from tests.soak.tracker import Tracker

TRIALS = 6
SWEEP = """
title = "a soak"
study = { sampler = "random", keep_models = 2 }
fidelity = { pruner = "asha", rungs = [0.5, 1], reduction = 2 }
data = { train_images = 1000 }

[space]
depth = { choices = [1, 2] }
filters = { choices = [8, 12], per = "block" }
batch_norm = { choices = ["none", "before_activation"] }
dropout = { choices = [0.0, 0.25] }
dense_units = { choices = [0, 16] }
epochs = 3
"""
_TICK_S = 0.05
_LONGEST_S = 900.0
_MOST_STARTS = 40
_ENDS_IN_S = 60.0


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was done.

    Attributes:
        fault: What was done.
        study: To which study.
        at_s: Seconds since that study's first start, at the first signal.
        ended: Jobs that had ended then.
    """

    fault: Fault
    study: str
    at_s: float
    ended: int

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        it = self.fault
        drawn = {"target": it.target, "kind": it.kind, "moment": it.moment, "wait_s": it.wait_s, "pause_s": it.pause_s}
        return {"study": self.study, **drawn, "at_s": round(self.at_s, 3), "jobs_ended": self.ended}


class Sweep:
    """A study under fire.

    Args:
        settings: Its home, name, sweep file, MLflow and storage.
        tracker: The MLflow server.
        mark: See ``processes``.
        log: What the command says to people is added to it.
    """

    def __init__(self, settings: Settings, tracker: Tracker, mark: str, log: Path) -> None:
        self._settings, self._tracker, self._mark, self._log = settings, tracker, mark, log
        self._ledger = settings.home.study(settings.study).ledger
        self._driver: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._hit = False
        self._over = False
        self._began = time.monotonic()
        self.starts = 0
        self.struck: list[Struck] = []
        self.violations: list[str] = []

    def run(self, faults: Sequence[Fault]) -> None:
        """Runs the sweep to its end, with as many of ``faults`` on the way as fit in."""
        try:
            for fault in faults:
                if not self._strike(fault):
                    break
            self._wait(lambda: False)
        finally:
            if self._driver is not None and self._driver.poll() is None:
                self._driver.kill()
                self._driver.wait()
        self.violations += self._leftovers()

    def _strike(self, fault: Fault) -> bool:
        """Waits for the fault's moment and does it; False if the study ended before."""
        if fault.moment == "once all is trained" and not self._wait(lambda: self._ended() >= TRIALS):
            return False
        due = time.monotonic() + fault.wait_s
        return self._wait(lambda: time.monotonic() >= due) and self._wait(lambda: self._hits(fault))

    def _hits(self, fault: Fault) -> bool:
        """Does the fault; False if nobody is there to be hit now."""
        assert self._driver is not None
        struck = Struck(fault, self._settings.study, time.monotonic() - self._began, self._ended())
        if fault.target == "MLflow server":
            done = self._tracker.well and self._tracker.hit(fault)
        else:
            there = self._found(fault)
            done = bool(there) and self._send(there[int(fault.choice * len(there))], fault)
        if done:
            self.struck.append(struck)
        return done

    def _found(self, fault: Fault) -> list[int]:
        driver = self._driver.pid if self._driver is not None else 0
        if fault.target == "worker":
            return processes.workers(processes.marked(self._mark), driver)
        if fault.target == "fork server":
            return processes.fork_servers(processes.marked(self._mark), driver)
        return [driver]

    def _send(self, pid: int, fault: Fault) -> bool:
        self._hit |= fault.target in ("driver", "all at the terminal")
        group = fault.target == "all at the terminal"
        done = processes.send(pid, fault.signals[0], group=group)
        for number in fault.signals[1:]:
            time.sleep(fault.pause_s)
            processes.send(pid, number, group=group)
        return done

    def _wait(self, true: Callable[[], bool]) -> bool:
        """Waits until ``true()``, and gives the command again when it ends too early; False once the study is over."""
        while self._goes_on():
            if true():
                return True
            time.sleep(_TICK_S)
        return False

    def _goes_on(self) -> bool:
        if self._over:
            return False
        if self._driver is None:
            self._start()
            return True
        code = self._driver.poll()
        if code is None:
            self._over = time.monotonic() - self._began > _LONGEST_S
            if self._over:
                self._blame(f"did not end within {_LONGEST_S:g} s")
            return not self._over
        if not self._explained(code) or code == 0:
            self._over = True
        elif self.starts >= _MOST_STARTS:
            self._over = True
            self._blame(f"did not end after {self.starts} starts")
        else:
            self._start()
        return not self._over

    def _start(self) -> None:
        """Gives the command, once the server is well."""
        self._tracker.wait()
        it = self._settings
        words = ["run", "--sweep", it.sweep, "--study", it.study, "--home", str(it.home.path), "--no-lab", "-q"]
        words += ["--trials", str(TRIALS), "--tracking-uri", it.tracking_uri, "--workers", str(it.workers)]
        words += ["--data-dir", str(it.data_dir)] if it.data_dir else []
        self.starts += 1
        self._hit = False
        with self._log.open("ab") as log:
            log.write(f"\n--- {it.study}, start {self.starts}\n".encode())
            log.flush()
            self._from = log.tell()
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "fmnist_sweep", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def _explained(self, code: int) -> bool:
        """Whether one of the faults explains the end; blames it if not, and a traceback in any case."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            said = log.read().decode(errors="replace")
        away = "not delivered:" in said or "error: --tracking-uri" in said
        explained = code == 0 or (code == 1 and away) or (self._hit and (code == 130 or code < 0))
        last = (said.strip().splitlines() or ["nothing"])[-1]
        if not explained:
            self._blame(f"start {self.starts} ended with code {code}, and said: {last}")
        if "Traceback" in said:
            self._blame(f"start {self.starts} ended with code {code} and a traceback: {last}")
        return explained

    def _ended(self) -> int:
        """Jobs that have ended, as the ledger's file says."""
        if not self._ledger.exists():
            return 0
        try:
            with closing(sqlite3.connect(f"{self._ledger.resolve().as_uri()}?mode=ro", uri=True)) as db:
                return int(db.execute("SELECT COUNT(*) FROM events WHERE kind = 'ended'").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0

    def _leftovers(self) -> list[str]:
        """Processes of the command's that are still there after a while."""
        deadline = time.monotonic() + _ENDS_IN_S
        while True:
            left = [it for it in processes.marked(self._mark) if it.group != self._tracker.group]
            if not left or time.monotonic() > deadline:
                return [f"{self._settings.study}: process {it.pid} was left: {it.command[:80]}" for it in left]
            time.sleep(_TICK_S)

    def _blame(self, what: str) -> None:
        self.violations.append(f"{self._settings.study}: it {what}")
