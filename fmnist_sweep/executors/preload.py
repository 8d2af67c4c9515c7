"""Imported once by the fork server: everything that a worker needs, loaded; no TensorFlow operation runs here."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

from fmnist_sweep import kernels

# With glibc's heap for each thread, a worker that saves a wide net keeps some 300 MB more than it uses.
_M_ARENA_MAX = -8
if sys.platform == "linux":
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)

# TensorFlow's C++ side greets on standard error before any setting can quiet it.
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 1)
os.dup2(_nowhere, 2)
os.close(_nowhere)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
kernels.choose()

# Keras loads these wherever they are installed, for plots, tables and wrappers that no worker uses: a third of the time
# that loading takes, and 140 MB. Whoever needs one later can still load it.
_unused = [name for name in ("matplotlib", "pandas", "sklearn") if name not in sys.modules]
for _name in _unused:
    sys.modules[_name] = None  # type: ignore[assignment]  # to Keras they are not installed
gc.disable()  # loading leaves nothing to collect, and looking for it takes half a second

from fmnist_sweep import train as train  # noqa: E402

for _name in _unused:
    del sys.modules[_name]
gc.freeze()  # what is loaded stays, so no worker has to look through it, or to copy it for looking
gc.enable()
