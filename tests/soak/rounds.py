"""Round after round: sweeps under fire until all faults are done, each sweep checked once it has ended."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmnist_sweep import data as datasets
from fmnist_sweep import quiet
from fmnist_sweep.data import DataSource
from fmnist_sweep.home import Home
from fmnist_sweep.settings import Settings
from tests.soak import faults, processes
from tests.soak.checks import Checked, Checks
from tests.soak.faults import Fault
from tests.soak.result import SoakResult
from tests.soak.sweep import SWEEP, TRIALS, Sweep
from tests.soak.tracker import Tracker

_FAULTS_A_STUDY = 7  # more, and the command would do little but start
_WORKERS = 2
_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        rounds: Faults to inject.
        seed: Of what is done, to whom and when.
        folder: Where to work; None for a folder that goes if all is well.
        data_dir: Where the data set is.
    """

    rounds: int
    seed: int
    folder: Path | None = None
    data_dir: Path | None = None


def soak(asked: Asked, say: Callable[[str], None]) -> SoakResult:
    """Runs sweeps until ``asked.rounds`` faults were injected, and checks each."""
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put this in the background
    quiet.load_tensorflow()
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="soak-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    source = datasets.find(asked.data_dir, say=say)
    result, mark = SoakResult(asked.seed), processes.new_mark()
    with Tracker(folder) as tracker:
        place = _Place(folder, source, tracker, mark)
        checks = Checks(TRIALS, place.images())
        planned = faults.draw(asked.seed, asked.rounds)
        while len(result.struck) < len(planned):
            done = len(result.struck)
            _one_study(place, checks, planned[done : done + _FAULTS_A_STUDY], result, say)
            if len(result.struck) == done:  # the study was over before the fault's moment
                planned[done] = replace(planned[done], wait_s=planned[done].wait_s / 2)
    left = processes.marked(mark)
    result.violations += [f"process {it.pid} was left at the end: {it.command[:80]}" for it in left]
    result.wall_s = round(time.monotonic() - began, 1)
    if result.violations or asked.folder:
        result.home = str(folder)
    else:
        shutil.rmtree(folder)
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """What all studies of a soak share."""

    folder: Path
    source: DataSource
    tracker: Tracker
    mark: str

    def settings(self, study: str) -> Settings:
        """Of one study."""
        sweep = self.folder / "soak.toml"
        sweep.write_text(SWEEP)
        return Settings(
            home=Home(self.folder / "home"),
            study=study,
            sweep=str(sweep),
            data_dir=self.source.folder,
            tracking_uri=self.tracker.uri,
            workers=_WORKERS,
        )

    def images(self) -> np.ndarray:
        """A few raw images."""
        split = datasets.prepare(self.source, self.folder / "images").load()
        return np.asarray(split.validation_images[:_IMAGES], np.float32)


def _one_study(
    place: _Place, checks: Checks, planned: Sequence[Fault], result: SoakResult, say: Callable[[str], None]
) -> None:
    """Runs one study with as many of the faults as fit in, checks it, and adds both to the result."""
    settings = place.settings(f"soak-{result.studies:03d}")
    sweep = Sweep(settings, place.tracker, place.mark, place.folder / "commands.log")
    sweep.run(planned)
    place.tracker.wait()
    try:
        checked = checks.check(settings)
    except Exception as error:  # what is not there can't be read
        checked = Checked((f"{settings.study}: the checks failed: {type(error).__name__}: {error}",), 0, 0, 0)
    result.struck += sweep.struck
    result.studies += 1
    result.trials += TRIALS
    result.starts += sweep.starts
    result.comparisons += checked.comparisons
    result.models += checked.models
    result.litter += checked.litter
    result.violations += [*sweep.violations, *checked.violations]
    for it in sweep.struck:
        say(f"{it.study} {it.at_s:6.1f} s: {it.fault.target}, {it.fault.kind}")
    say(f"{settings.study}: {len(result.struck)} faults so far, {len(result.violations)} violations")
    for what in [*sweep.violations, *checked.violations]:
        say(f"  {what}")
