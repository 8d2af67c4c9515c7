"""The stack's commands without containers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.compose.programs import ROOT


class Processes:
    """The services' commands with their environment, as plain processes on 127.0.0.1.

    Args:
        resolved: The compose file.
        folder: Takes the place of the volumes.
        ports: Of each service that listens, by the port that it has in the file.
    """

    def __init__(self, resolved: dict[str, Any], folder: Path, ports: dict[str, int]) -> None:
        self.folder = folder
        self._services, self._ports = resolved["services"], ports
        self._running: list[subprocess.Popen[bytes]] = []

    def mapped(self, text: str) -> str:
        """The text with host names, ports and volumes of the stack replaced by those of this machine."""
        for place, port in self._ports.items():
            host, number = place.split(":")
            text = text.replace(f"@{host}/", f"@127.0.0.1:{port}/").replace(f"{host}:{number}", f"127.0.0.1:{port}")
        for name in ("artifacts", "runs"):
            text = re.sub(rf"^/{name}\b", str(self.folder / name), text)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """What the service finds in its environment."""
        given = {name: self.mapped(value) for name, value in self._services[service].get("environment", {}).items()}
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "FMNIST_DATA_DIR") if name in os.environ}
        return {**kept, **given, "PYTHONPATH": str(ROOT)}

    def run(self, service: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs a command with a service's environment to its end."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**self.environment(service), **changes},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def start(self, service: str, *words: str, **changes: str) -> subprocess.Popen[bytes]:
        """Starts a command with a service's environment; ``stop`` ends it."""
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                words, cwd=self.folder, env={**self.environment(service), **changes}, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    def words(self, service: str) -> list[str]:
        """The service's command."""
        return [self.mapped(word) for word in self._services[service]["command"]]

    def health(self, service: str) -> list[str]:
        """The service's health check, its own Python in place of the image's."""
        words = self._services[service]["healthcheck"]["test"][1:]
        return [sys.executable if word == "python" else word for word in words]

    def stop(self) -> None:
        """Ends all that was started."""
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            process.wait(30)
