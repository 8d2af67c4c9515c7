"""The stack of the compose file, as one project of an engine."""

from __future__ import annotations

import json
import os
import re
import runpy
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compose.engine import Engine
from tests.compose.programs import ROOT, SAID, ComposeError, compose_program, run
from tests.compose.stand_ins import POSTGRES, PYTHON

PROJECT = "fmnist-compose-test"
WORKERS = 2
DOCKERFILES = [ROOT / "docker/sweep/Dockerfile", ROOT / "mlflow_server/Dockerfile"]
PINNED = re.compile(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]+(@sha256:[0-9a-f]{64})?")  # the name of an image
_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def new_secrets() -> dict[str, str]:
    """The template's variables with new secrets, as ``make env`` would write them."""
    template = (ROOT / ".env.example").read_text(encoding="utf-8")
    text: str = runpy.run_path(str(ROOT / "docker/make_env.py"))["filled"](template)
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def settings_for_test() -> dict[str, str]:
    """What the stack's ``.env`` holds for the test: secrets, the stand-ins, and limits that fit a small machine."""
    bundle = next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), "")
    return {
        **new_secrets(),
        "CA_BUNDLE": bundle,
        "IMAGE_TAG": "test",
        "MLFLOW_PORT": str(free_port()),
        "POSTGRES_IMAGE": POSTGRES,
        "PYTHON_IMAGE": PYTHON,
        "RAY_WORKERS": str(WORKERS),
        "RAY_WORKER_CPUS": "1",
        "RAY_WORKER_MEMORY": "3g",
    }


@dataclass(frozen=True, slots=True)
class Stack:
    """Compose's commands on the stack.

    Attributes:
        engine: Where it runs.
        env_file: Its ``.env``.
        settings: What that holds.
    """

    engine: Engine
    env_file: Path
    settings: Mapping[str, str]

    @classmethod
    def make(cls, engine: Engine, scratch: Path) -> Stack:
        """A stack with an ``.env`` of its own under ``scratch``."""
        settings, file = settings_for_test(), scratch / "test.env"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return cls(engine, file, settings)

    def command(self, *words: str) -> list[str]:
        """A command of Compose for this stack."""
        options = ["--project-name", PROJECT, "--file", str(ROOT / "docker-compose.yml")]
        return [str(compose_program()), *options, "--env-file", str(self.env_file), *words]

    def compose(self, *words: str, timeout_s: float = 600, ok: bool = True) -> str:
        """What a command of Compose prints.

        Raises:
            ComposeError: See ``run``.
        """
        return run(*self.command(*words), timeout_s=timeout_s, changes=self.engine.environment, ok=ok).stdout

    def start(self, *words: str, output: Path) -> subprocess.Popen[bytes]:
        """Starts a command of Compose; what it prints goes to a file, and its messages beside it."""
        with output.open("wb") as printed, output.with_suffix(".err").open("wb") as told:
            return subprocess.Popen(
                self.command(*words),
                cwd=ROOT,
                env={**os.environ, **self.engine.environment},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=told,
            )

    def unpack(self, archive: Path, *words: str) -> None:
        """Runs a command of Compose that reads ``archive`` on its standard input.

        Raises:
            ComposeError: It failed.
        """
        with archive.open("rb") as packed:
            done = subprocess.run(
                self.command(*words),
                cwd=ROOT,
                env={**os.environ, **self.engine.environment},
                stdin=packed,
                capture_output=True,
                timeout=600,
                check=False,
            )
        if done.returncode:
            raise ComposeError(f"{words}: {done.stderr.decode(errors='replace')[-SAID:].strip()}")

    def sweep(self, *words: str, timeout_s: float = 900) -> Any:
        """The JSON that a command of the sweep prints.

        Raises:
            ComposeError: It failed.
        """
        return json.loads(self.compose("run", "--rm", "-T", "sweep", *words, "--json", timeout_s=timeout_s))

    def containers(self, service: str) -> list[str]:
        """Ids of a service's running containers."""
        return self.compose("ps", "--quiet", "--status", "running", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """All that the engine knows of a container."""
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    def end(self) -> None:
        """Takes everything down: containers, networks, volumes; those of an interrupted sweep too."""
        self.compose("--profile", "sweep", "down", "--volumes", "--remove-orphans", timeout_s=180)
