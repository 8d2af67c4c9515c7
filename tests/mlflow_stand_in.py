"""MLflow's client in memory, for tests that make it fail in the midst: away, answering 500, or losing a reply.

It keeps MLflow's rules that matter here: a parameter can't change, and the same point of a metric counts once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

Outage = Literal["", "refused", "500"]


class AwayError(Exception):
    """What a client raises when the server gives no answer, or none that is of use."""


class NotThereError(Exception):
    """What MLflow says of something that it does not have."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


class Page(list[Any]):
    """A page of results, which is always the last one."""

    token = None


@dataclass
class _Run:
    info: SimpleNamespace
    data: SimpleNamespace
    history: dict[str, list[Any]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    outputs: None = None


class StandInClient:
    """One tracking server and its client.

    Args:
        tick: Called before and after each request; it may raise, as a process may be killed there.
    """

    def __init__(self, tick: Callable[[str], None]) -> None:
        self._tick = tick
        self.outage: Outage = ""
        self.replies_to_lose = 0
        self.failures = 0
        self._experiments: dict[str, SimpleNamespace] = {}
        self._runs: dict[str, _Run] = {}

    def search_experiments(self, max_results: int) -> Page:
        return Page(self._answer(lambda: list(self._experiments.values())[:max_results]))

    def get_experiment_by_name(self, name: str) -> Any:
        return self._answer(lambda: next((it for it in self._experiments.values() if it.name == name), None))

    def get_experiment(self, experiment: str) -> Any:
        return self._answer(lambda: _found(self._experiments, experiment))

    def create_experiment(self, name: str, artifact_location: str | None, tags: dict[str, str]) -> str:  # noqa: ARG002
        def create() -> str:
            assert all(it.name != name for it in self._experiments.values())
            key = str(len(self._experiments) + 1)
            self._experiments[key] = SimpleNamespace(
                experiment_id=key, name=name, tags=dict(tags), lifecycle_stage="active"
            )
            return key

        return str(self._answer(create))

    def set_experiment_tag(self, experiment: str, name: str, value: str) -> None:
        self._answer(lambda: _found(self._experiments, experiment).tags.update({name: value}))

    def create_run(self, experiment: str, start_time: int, run_name: str, tags: dict[str, str]) -> Any:
        def create() -> _Run:
            key = f"run-{len(self._runs) + 1}"
            info = SimpleNamespace(run_id=key, experiment_id=experiment, status="RUNNING", run_name=run_name)
            info.start_time, info.end_time = start_time, None
            self._runs[key] = _Run(info, SimpleNamespace(params={}, tags=dict(tags), metrics={}))
            return self._runs[key]

        return self._answer(create)

    def get_run(self, run: str) -> Any:
        return self._answer(lambda: _found(self._runs, run))

    def search_runs(
        self,
        experiments: Sequence[str],
        query: str = "",
        max_results: int = 1000,
        page_token: None = None,  # noqa: ARG002
    ) -> Page:
        wanted = dict(re.findall(r"tags\.`([^`]+)` = '([^']*)'", query))

        def search() -> list[_Run]:
            there = [run for run in self._runs.values() if run.info.experiment_id in experiments]
            return [run for run in there if wanted.items() <= run.data.tags.items()][:max_results]

        return Page(self._answer(search))

    def update_run(self, run: str, status: str) -> None:
        self._answer(lambda: setattr(_found(self._runs, run).info, "status", status))

    def set_terminated(self, run: str, status: str, end_time: int) -> None:
        def end() -> None:
            info = _found(self._runs, run).info
            info.status, info.end_time = status, end_time

        self._answer(end)

    def set_tag(self, run: str, name: str, value: str) -> None:
        self._answer(lambda: _found(self._runs, run).data.tags.update({name: value}))

    def log_batch(self, run: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        def log() -> None:
            found = _found(self._runs, run)
            for param in params:
                assert found.data.params.setdefault(param.key, param.value) == param.value
            for point in metrics:
                history = found.history.setdefault(point.key, [])
                if not any(_same(point, old) for old in history):
                    history.append(point)
                last = max(history, key=lambda it: (it.step, it.timestamp, it.value))
                found.data.metrics[point.key] = last.value
            found.data.tags.update({tag.key: tag.value for tag in tags})

        self._answer(log)

    def log_inputs(self, run: str, inputs: Sequence[Any]) -> None:  # noqa: ARG002
        self._answer(lambda: _found(self._runs, run))

    def log_text(self, run: str, text: str, file: str) -> None:  # noqa: ARG002
        self._answer(lambda: _found(self._runs, run).files.add(file))

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return list(self._answer(lambda: _found(self._runs, run).history.get(name, [])))

    def list_artifacts(self, run: str) -> list[Any]:
        return [SimpleNamespace(path=path) for path in self._answer(lambda: _found(self._runs, run).files)]

    def search_logged_models(self, experiments: Sequence[str], max_results: int, page_token: None) -> Page:  # noqa: ARG002
        return Page()

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        raise NotThereError(f"no {name}@{alias}")

    def jobs(self) -> list[str]:
        """The job of each run, as its tag says."""
        return [run.data.tags["sweep.job"] for run in self._runs.values()]

    def _answer(self, do: Callable[[], Any]) -> Any:
        self._tick("before MLflow is asked")
        if self.outage:
            self.failures += 1
            raise AwayError("connection refused" if self.outage == "refused" else "500 Server Error")
        found = do()
        self._tick("after MLflow was asked")
        if self.replies_to_lose:
            self.replies_to_lose -= 1
            self.failures += 1
            raise AwayError("connection reset by peer")
        return found


def _found(where: dict[str, Any], key: str) -> Any:
    if key not in where:
        raise NotThereError(key)
    return where[key]


def _same(one: Any, other: Any) -> bool:
    return bool((one.timestamp, one.step, one.value) == (other.timestamp, other.step, other.value))
