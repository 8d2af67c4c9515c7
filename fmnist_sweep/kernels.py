"""Which kernels TensorFlow computes with; to be chosen before it loads."""

from __future__ import annotations

import os
import platform

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def choose() -> None:
    """Turns oneDNN's kernels on, unless the environment says otherwise (``TF_ENABLE_ONEDNN_OPTS=0``).

    TensorFlow itself does so on x86-64 processors with AVX-512 VNNI or newer instructions alone. On others, too, they
    are the faster ones, see README, "How it works". Elsewhere than on x86-64 it was not measured.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault(ONEDNN, "1")
