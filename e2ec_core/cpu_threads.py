"""How PyTorch's CPU threads wait for each other; to be settled before torch is imported."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Lets the CPU threads of this process and of its children sleep while they wait.

    By default they spin, and beside another busy process an inference takes many times longer
    (`benchmarks/threads.md`). Programs call this before torch is imported, as libgomp reads
    OMP_WAIT_POLICY only when it is loaded. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
