"""The stack of the compose file in real containers, where an engine answers or can be started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.compose.__main__ import NOT_HERE
from tests.compose.programs import ROOT


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_stack_is_built_loses_a_worker_and_is_restored() -> None:
    """What ``make compose-test`` does; ``tests/test_compose.py`` has what can be tried without containers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compose"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == NOT_HERE:
        pytest.skip(f"no containers here: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "everything is found again" in done.stdout
