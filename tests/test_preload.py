"""What the fork server loads, and what it leaves out, so that workers begin soon and share their memory."""

from __future__ import annotations

import subprocess
import sys

_ASK = """
import gc, sys
import fmnist_sweep.executors.preload
names = ("matplotlib", "pandas", "sklearn")
assert not any(name in sys.modules for name in names), "loaded, or still said to be missing"
assert "fmnist_sweep.train" in sys.modules
assert gc.isenabled() and gc.get_freeze_count() > 100_000
for name in {wanted}:
    __import__(name)
"""


def test_what_no_worker_uses_is_not_loaded_and_can_be_later() -> None:
    asked = _ASK.format(wanted=("pandas", "mlflow.keras"))
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0  # standard error is pointed away
