"""A real MLflow server that is killed, stopped and started again on the same port."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import TracebackType

import mlflow_server
from mlflow_server import RunningServer, ServerSettings, settled
from tests.soak.faults import Fault
from tests.soak.processes import send

_START_S = 180.0


class Tracker:
    """The server, and what brings it back after a fault; leaving its ``with`` block ends it.

    Args:
        folder: For its database, artifacts and log.
    """

    def __init__(self, folder: Path) -> None:
        database, artifacts = folder / "mlflow.db", folder / "mlartifacts"
        self._settings = settled(ServerSettings(f"sqlite:///{database}", str(artifacts), port=0))
        self._log = folder / "mlflow-server.log"
        self._server: RunningServer | None = None
        self._repair: threading.Thread | None = None
        self._closing = threading.Event()
        self._start()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self.wait()
        if self._server is not None:
            self._server.stop()

    @property
    def uri(self) -> str:
        """Where clients find it."""
        return self._settings.uri

    @property
    def group(self) -> int:
        """Its process group."""
        return self._server.pid if self._server is not None else 0

    @property
    def well(self) -> bool:
        """Whether nothing is being done to it."""
        return self._repair is None or not self._repair.is_alive()

    def wait(self) -> None:
        """Waits until it is well."""
        if self._repair is not None:
            self._repair.join()

    def hit(self, fault: Fault) -> bool:
        """Sends the first signal to all its processes, and sees to the rest in a thread of its own."""
        struck = send(self.group, fault.signals[0], group=True)
        self._repair = threading.Thread(target=self._recover, args=(fault,), daemon=True, name="repairs the server")
        self._repair.start()
        return struck

    def _recover(self, fault: Fault) -> None:
        self._closing.wait(fault.pause_s)
        if fault.signals[-1] is signal.SIGCONT:
            send(self.group, signal.SIGCONT, group=True)
        else:
            self._start()

    def _start(self) -> None:
        if self._server is not None:
            self._server.stop()
        deadline = time.monotonic() + _START_S
        while not self._closing.is_set():
            try:
                self._server = mlflow_server.start(self._settings, log=self._log, timeout_s=_START_S)
            except mlflow_server.ServerError:  # somebody else may have its port for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                break
