"""What MLflow is given besides the events: the kept models, and the alias of the champion."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from fmnist_sweep import publish
from fmnist_sweep.data import PreparedData
from fmnist_sweep.errors import FatalError, first_line
from fmnist_sweep.executors.standby import Standby
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.publish import Crowned, Publication
from fmnist_sweep.state import JobRecord, StudyState
from fmnist_sweep.views import Mirror

_TIMEOUT_S = 120.0


class Delivery:
    """Logs a study's kept models, as soon as nothing can displace them, and moves the champion's alias.

    Args:
        uri: Of MLflow.
        ledger: The study's; told which models are logged.
        folder: The study's files.
        data: The images.
        keep_models: How many of the best trials keep theirs.
        mirrors: The views, the first of them MLflow's; a model is logged to a run that is told to its end.
        standby: Logs them.
    """

    def __init__(
        self,
        uri: str,
        ledger: Ledger,
        folder: StudyFolder,
        data: PreparedData,
        keep_models: int,
        mirrors: Sequence[Mirror],
        standby: Standby,
    ) -> None:
        self._uri = uri
        self._ledger = ledger
        self._folder = folder
        self._data = data
        self._keep_models = keep_models
        self._mirrors = mirrors
        self._standby = standby
        self._tried: set[str] = set()

    def ahead(self, state: StudyState, target: int) -> None:
        """While the last nets train and a core is free: what can be done already; asked all the time, never waits.

        What goes wrong here is tried again in the end, and told of then.

        Args:
            state: The study's.
            target: Trials asked for; while some are to come, no model is logged.

        Raises:
            FatalError: MLflow can't be used at all.
        """
        self._standby.begin()
        self._standby.look()
        if len(state.trials()) < target:
            return
        new = (job for job in sure(state, self._keep_models) if job.key not in self._tried)
        job = next(new, None)
        if job is not None and all(mirror.drain(0.0) for mirror in self._mirrors):
            images = self._data.images
            if self._standby.later(publish.publish, self._uri, [self._item(job)], images, then=self._note):
                self._tried.add(job.key)

    def rest(self, say: Callable[[str], None]) -> tuple[str, Crowned | None]:
        """Once everything is trained: waits for the runs, logs the models that are left, moves the alias.

        Args:
            say: Gets lines for people on what is going on.

        Returns:
            What could not be delivered, and where the alias stands; None if that was left, too.

        Raises:
            FatalError: MLflow can't be used at all.
        """
        self._standby.look(_TIMEOUT_S)
        trouble = self.drain()
        if trouble:
            return trouble, None
        state = StudyState.of(self._ledger.events())
        heir = publish.heir(state)
        wanted = [job for job in _without(state) if job.kind != "final" or (heir and job.key == heir[0])]
        if wanted or heir:
            say(f"logging {len(wanted)} model{'s' * (len(wanted) != 1)}" if wanted else "checking the champion")
        try:
            if wanted:
                items = [self._item(job) for job in wanted]
                self._note(self._standby.call(publish.publish, self._uri, items, self._data.images))
                state = StudyState.of(self._ledger.events())
            champion = None
            if heir is not None:
                job = state.jobs[heir[0]]
                champion = publish.crown(self._uri, self._item(job), job.model_uri, heir[1])
            return publish.link_twins(self._uri, state), champion
        except FatalError:
            raise
        except Exception as error:
            return f"models: {first_line(error)}", None

    def drain(self) -> str:
        """Waits for the views; says which is behind and why, or nothing.

        Raises:
            FatalError: One can't be used at all.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        behind = [mirror for mirror in self._mirrors if not mirror.drain(max(1.0, deadline - time.monotonic()))]
        return "; ".join(mirror.trouble or "a view is slow" for mirror in behind)

    def _item(self, job: JobRecord) -> Publication:
        return publish.publication(job, self._folder, self._data.class_names)

    def _note(self, logged: Mapping[str, str]) -> None:
        for key, model_uri in logged.items():
            self._ledger.append("model", key, model_uri=model_uri)


def sure(state: StudyState, keep_models: int) -> list[JobRecord]:
    """Jobs without a logged model whose model is to be logged whatever becomes of those that still train.

    Of the trials these are so many fewer of the best as there are trials under way, each of which may yet displace one;
    and the lab's nets. Not those of the finals, which their end decides.
    """
    under_way = len(state.trials("waiting", "running"))
    stay = {job.key for job in state.ranked()[: max(keep_models - under_way, 0)]}
    return [job for job in _without(state) if job.key in stay or (job.kind == "lab" and job.state == "complete")]


def _without(state: StudyState) -> list[JobRecord]:
    """Jobs with kept weights and a run that has no model yet."""
    return [job for job in state.jobs.values() if job.kept and not job.model_uri and job.run_id]
