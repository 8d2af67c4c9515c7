"""What MLflow's server says through its API, asked with user and password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import requests

from tests.compose.programs import ComposeError


@dataclass(frozen=True, slots=True)
class Records:
    """MLflow's REST API.

    Attributes:
        uri: Of the server.
        password: Of its user ``admin``.
    """

    uri: str
    password: str = field(repr=False)

    def refuses_strangers(self) -> bool:
        """Whether one without a password, and one with a wrong one, are turned away."""
        where = f"{self.uri}/api/2.0/mlflow/experiments/search"
        answers = [
            requests.post(where, json={"max_results": 1}, auth=who, timeout=20) for who in (None, ("admin", "x"))
        ]
        return [answer.status_code for answer in answers] == [401, 401]

    def experiment(self, name: str) -> str:
        """An experiment's id; "" where there is none of that name."""
        found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name}, missing=True)
        return str(found["experiment"]["experiment_id"]) if found else ""

    def runs(self, experiment: str) -> dict[str, dict[str, Any]]:
        """The trials of a study: by run id, the trial's number, the state and the metrics."""
        body = {"experiment_ids": [experiment], "filter": "tags.`sweep.kind` = 'trial'", "max_results": 1000}
        found = self._ask("POST", "runs/search", body)
        return {run["info"]["run_id"]: _facts(run) for run in found.get("runs", [])}

    def champion(self) -> str:
        """The version of the registered model that is the champion."""
        words = {"name": "fmnist-sweep", "alias": "champion"}
        return str(self._ask("GET", "registered-models/alias", words)["model_version"]["version"])

    def artifact(self, run: str, path: str) -> bytes:
        """An artifact of a run, through the server's proxy.

        Raises:
            ComposeError: There is none.
        """
        answer = requests.get(
            f"{self.uri}/get-artifact",
            params={"run_uuid": run, "path": path},
            auth=("admin", self.password),
            timeout=60,
        )
        if not answer.ok:
            raise ComposeError(f"artifact {path} of run {run}: {answer.status_code} {answer.text[:200]}")
        return answer.content

    def artifacts(self, run: str) -> list[str]:
        """Names of a run's artifacts."""
        return [file["path"] for file in self._ask("GET", "artifacts/list", {"run_id": run}).get("files", [])]

    def _ask(self, method: str, what: str, words: dict[str, Any], *, missing: bool = False) -> dict[str, Any]:
        sent: dict[str, Any] = {"params": words} if method == "GET" else {"json": words}
        where = f"{self.uri}/api/2.0/mlflow/{what}"
        answer = requests.request(method, where, auth=("admin", self.password), timeout=60, **sent)
        if missing and answer.status_code == 404:
            return {}
        if not answer.ok:
            raise ComposeError(f"{where}: {answer.status_code} {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


def _facts(run: dict[str, Any]) -> dict[str, Any]:
    data = run["data"]
    return {
        "trial": next(tag["value"] for tag in data["tags"] if tag["key"] == "sweep.trial"),
        "state": next((tag["value"] for tag in data["tags"] if tag["key"] == "sweep.state"), ""),
        "status": run["info"]["status"],
        "metrics": {metric["key"]: metric["value"] for metric in data.get("metrics", [])},
    }
