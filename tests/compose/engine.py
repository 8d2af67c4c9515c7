"""A Docker engine: the machine's own, or one that is started for the test and taken away without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import debian
from tests.compose.programs import NotHereError, run, until

_PACKAGES = ("docker.io", "iptables", "iproute2")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_TABLES = ("nat", "filter")
_LEAST_BYTES = 25 * 2**30


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine.

    Attributes:
        host: Its address, as ``DOCKER_HOST`` takes it.
    """

    host: str

    @property
    def environment(self) -> dict[str, str]:
        """What ``docker`` and Compose must know."""
        return {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    def docker(self, *words: str, timeout_s: float = 120, ok: bool = True) -> str:
        """What a command of ``docker`` prints.

        Raises:
            ComposeError: See ``run``.
        """
        return run("docker", *words, timeout_s=timeout_s, changes=self.environment, ok=ok).stdout.strip()


@contextmanager
def running_engine(scratch: Path) -> Iterator[Engine]:
    """The engine that answers here, or one of its own under ``scratch``, which ends with the block.

    Raises:
        NotHereError: There is none, and none can be started.
    """
    theirs = Engine(os.environ.get("DOCKER_HOST", "unix:///run/docker.sock"))
    if shutil.which("docker") and _answers(theirs):
        yield theirs
        return
    if os.geteuid() != 0:
        raise NotHereError("no Docker engine answers, and only root can start one")
    _install()
    free = shutil.disk_usage(scratch).free
    if free < _LEAST_BYTES:
        raise NotHereError(
            f"{scratch} has {free / 2**30:.0f} GiB free; valid: {_LEAST_BYTES / 2**30:.0f} for the images"
        )
    with _network_as_it_was(), _started(scratch) as engine:
        yield engine


def install(*packages: str) -> None:
    """Installs Debian's packages.

    Raises:
        NotHereError: They can't be.
    """
    why = debian.install(*packages)
    if why:
        raise NotHereError(f"{', '.join(packages)} can't be installed: {why}")


def _install() -> None:
    if not all(shutil.which(program) for program in ("dockerd", "docker", "iptables", "ip")):
        install(*_PACKAGES)


def _answers(engine: Engine) -> bool:
    done = run("docker", "version", "--format", "x", timeout_s=30, changes=engine.environment, ok=False)
    return done.returncode == 0


@contextmanager
def _started(scratch: Path) -> Iterator[Engine]:
    engine = Engine(f"unix://{scratch}/docker.sock")
    folders = [word for name in ("data", "exec") for word in (f"--{name}-root", str(scratch / name))]
    words = ["dockerd", "--host", engine.host, *folders, "--pidfile", str(scratch / "dockerd.pid")]
    log = scratch / "dockerd.log"
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            [*words, "--default-ulimit", "nofile=16384:16384"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        until(f"an answer of dockerd, whose log is {log}", lambda: daemon.poll() is not None or _answers(engine), 60)
        if daemon.poll() is not None:
            raise NotHereError(f"dockerd ended at once: {log.read_text()[-500:]}")
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        for place in _mounts_below(scratch):
            run("umount", "--lazy", place)


def _mounts_below(folder: Path) -> list[str]:
    """What is mounted under ``folder``, the deepest first."""
    places = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted((place for place in places if Path(place).is_relative_to(folder)), reverse=True)


@contextmanager
def _network_as_it_was() -> Iterator[None]:
    """Takes away the bridge and the rules that an engine leaves."""
    forwarding = _FORWARDING.read_text()
    before = run("iptables-save").stdout
    links = _links()
    try:
        yield
    finally:
        for link in sorted(_links() - links):
            run("ip", "link", "delete", link, ok=False)  # the ends of a pair go together
        for table in _TABLES:
            if f"*{table}" not in before:
                _empty(table)
        if before:
            subprocess.run(["iptables-restore"], input=before, text=True, check=False)
        with suppress(OSError):
            _FORWARDING.write_text(forwarding)


def _empty(table: str) -> None:
    for words in (("--flush",), ("--delete-chain",)):
        run("iptables", "--table", table, *words, ok=False)
    if table == "filter":
        run("iptables", "--policy", "FORWARD", "ACCEPT", ok=False)


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}
