"""Keeps other libraries' chatter off the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fmnist_sweep import kernels


@contextmanager
def silenced() -> Iterator[None]:
    """Points standard error's descriptor elsewhere: C++ libraries print there before any setting can quiet them."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load_tensorflow() -> None:
    """Imports TensorFlow without its greetings; call it before anything else imports it."""
    kernels.choose()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced():
        import tensorflow as tf

        tf.config.list_physical_devices()
