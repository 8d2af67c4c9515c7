"""Base images where no registry is at hand: Debian 12 by debootstrap, and on it Python 3.11 and PostgreSQL 15."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.compose.engine import Engine, install
from tests.compose.programs import ROOT, SAID, ComposeError, NotHereError, compose_program, run

DEBIAN = "fmnist-stand-in-debian:bookworm"
PYTHON = "fmnist-stand-in-python:bookworm"
POSTGRES = "fmnist-stand-in-postgres:15"
_FILE = ROOT / "tests/compose/images/stand-ins.yml"


def make_debian(engine: Engine, scratch: Path) -> None:
    """Debian's smallest system as an image, unless it is there from before.

    Raises:
        NotHereError: Debian can't be had.
        ComposeError: It can't be made an image.
    """
    if engine.docker("images", "--quiet", DEBIAN):
        return
    if not shutil.which("debootstrap"):
        install("debootstrap")
    folder = scratch / "debian"
    try:
        run("debootstrap", "--variant=minbase", "bookworm", folder, timeout_s=900)
    except ComposeError as error:
        raise NotHereError(str(error)) from None
    # Whatever a build leaves half done it does anew, so nothing need wait for the disk.
    (folder / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as packed:
        words = ["docker", "--host", engine.host, "import", "-", DEBIAN]
        done = subprocess.run(words, stdin=packed.stdout, capture_output=True, text=True, check=False)
    shutil.rmtree(folder)
    if done.returncode or packed.returncode:
        raise ComposeError(f"docker import: {done.stderr[-SAID:].strip()}")


def build_stand_ins(engine: Engine) -> None:
    """Builds what stands in for the public images that the compose file names.

    Raises:
        NotHereError: They can't be built: a build has no network here, or no file system to work on.
    """
    changes = {**engine.environment, "DEBIAN_IMAGE": DEBIAN}
    try:
        run(str(compose_program()), "--file", _FILE, "build", "--progress", "plain", timeout_s=1800, changes=changes)
    except ComposeError as error:
        raise NotHereError(str(error)) from None
