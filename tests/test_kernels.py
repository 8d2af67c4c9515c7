"""oneDNN's kernels are on where networks are trained, whatever processor this is, unless the environment says no."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from fmnist_sweep import kernels

_ASK = "; from tensorflow.python.framework import test_util; raise SystemExit(40 + test_util.IsMklEnabled())"
_LOADERS = {
    "worker": "import fmnist_sweep.executors.preload",  # it points standard output elsewhere
    "other": "from fmnist_sweep import quiet; quiet.load_tensorflow()",
}

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="chosen on x86-64 alone")


@x86
@pytest.mark.parametrize("loader", _LOADERS)
@pytest.mark.parametrize(("said", "on"), [(None, True), ("0", False)])
def test_tensorflow_computes_with_onednn(loader: str, said: str | None, on: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != kernels.ONEDNN}
    if said is not None:
        environment[kernels.ONEDNN] = said
    done = subprocess.run([sys.executable, "-c", _LOADERS[loader] + _ASK], env=environment, check=False)
    assert done.returncode == 40 + on


@pytest.mark.parametrize(("machine", "said"), [("x86_64", "1"), ("AMD64", "1"), ("aarch64", None)])
def test_it_is_chosen_on_x86_alone(machine: str, said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(platform, "machine", lambda: machine)
    kernels.choose()
    assert os.environ.get(kernels.ONEDNN) == said
