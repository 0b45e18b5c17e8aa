"""Prepares a process of this package before its slow imports. Import nothing else first."""

from __future__ import annotations

import signal

from e2ec_core.cpu_threads import wait_passively
from e2ec_core.opencv import prepare_opencv


def prepare_process() -> None:
    """Settles threads and OpenCV, and makes Ctrl-C during the imports end the process silently."""
    wait_passively()
    prepare_opencv()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
