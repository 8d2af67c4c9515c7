"""A study folder that tests of the driver use as they like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmnist_sweep import lab
from fmnist_sweep.driver import Driver
from fmnist_sweep.ending import Outcome, Stopping
from fmnist_sweep.executors import Executor
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.proposers import Proposer, Task, make
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Extra, RunTrial
from tests import stand_ins


class Place:
    """A study folder with its ledger, driven as often as a test likes."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.task = task
        self.folder = StudyFolder(folder / "study")
        self.folder.path.mkdir()
        self.ledger = Ledger(self.folder.ledger)
        self.ledger.append("study", config=task.config.model_dump(mode="json"))
        self.data = stand_ins.prepared(folder / "data")
        self.reports_until_stop = -1

    def driver(self, executor: Executor, proposer: Proposer | None = None, **how: Any) -> Driver:
        return Driver(
            ledger=self.ledger,
            task=self.task,
            data=self.data,
            folder=self.folder,
            proposer=proposer or make(self.task),
            executor=executor,
            **how,
        )

    def drive(
        self,
        target: int,
        run: RunTrial = stand_ins.quick,
        extras: Sequence[Extra] = (),
        timeout_s: float | None = None,
        stop_after: int | None = None,
        patience: int = 0,
        search: bool = True,
    ) -> Outcome:
        seen = 0

        def watch(_: StudyState, event: object) -> None:
            nonlocal seen
            seen += getattr(event, "kind", "") == "report"

        def stopping() -> Stopping:
            return Stopping.AT_NEXT_REPORT if stop_after is not None and seen >= stop_after else Stopping.NO

        executor = InlineExecutor(run)
        try:
            return self.driver(executor, watch=watch, stopping=stopping).run(
                target, extras, timeout_s, patience, search=search
            )
        finally:
            executor.close()

    @property
    def state(self) -> StudyState:
        return StudyState.of(self.ledger.events())


def nets(*names: str) -> list[Extra]:
    found = lab.variants(names or ("all",), input_shape=stand_ins.SHAPE, classes=stand_ins.CLASSES, epochs=2)
    return [Extra(variant.name, "lab", variant.arch, variant.train) for variant in found]
