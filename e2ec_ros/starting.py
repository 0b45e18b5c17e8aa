"""Prepares a process of this package before its slow imports. Import nothing else first."""

from __future__ import annotations

import os
import signal


def prepare_process() -> None:
    """Makes waiting CPU threads sleep, and Ctrl-C during the imports end the process silently.

    libgomp reads OMP_WAIT_POLICY when PyTorch is loaded. By default its threads spin while they
    wait, which makes inference several times slower beside any other busy process.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
