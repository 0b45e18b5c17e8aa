"""How PyTorch's CPU threads wait for each other; to be settled before torch is imported."""

from __future__ import annotations

import logging
import os
from functools import lru_cache


def wait_passively() -> None:
    """Lets the CPU threads of this process and of its children sleep while they wait.

    By default they spin, and beside another busy process an inference takes many times longer
    (`benchmarks/threads.md`). Programs call this before torch is imported, as libgomp reads
    OMP_WAIT_POLICY only when it is loaded. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@lru_cache(maxsize=1)  # once for each process
def warn_of_spinning() -> None:
    """Logs a warning if this process's CPU threads spin while they wait."""
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        logging.getLogger(__name__).warning(
            "PyTorch's CPU threads spin while they wait, which slows everything down beside "
            "another busy process; set OMP_WAIT_POLICY=PASSIVE before torch is imported"
        )
