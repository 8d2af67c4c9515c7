"""Keeps other libraries' chatter off the terminal."""

from __future__ import annotations

import os


def load_tensorflow() -> None:
    """Imports TensorFlow without its greetings; call it before anything else imports it.

    Its C++ side prints to the file descriptor before any setting can quiet it, so the descriptor is
    pointed elsewhere while it loads.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
