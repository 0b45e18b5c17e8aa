"""ROS domains that nothing else on this machine uses at the same time."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_used = count()
DOMAINS = 101  # 1 to 101; larger ones meet the ports that Linux gives to clients
PARTICIPANTS = 8
"""Processes of a domain whose ports are looked at."""


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that stays reserved inside the `with`.

    Demos and tests reserve theirs by a lock on a file in the temporary folder, which the system
    takes off when the process ends, however it ends. Nodes of others, a robot's above all, are
    known by their ports.

    Raises:
        ValueError: all are taken.
    """
    for _ in range(DOMAINS):
        # Not from 1 on: other programs use the low ones. Another each time: what a killed process
        # left in shared memory would disturb the next one in its domain.
        domain = 1 + (os.getpid() + next(_used)) % DOMAINS
        path = Path(tempfile.gettempdir(), f"e2ec_ros_domain_{domain}.lock")
        try:
            file = path.open("a")
        except OSError:  # another user's
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if _has_nodes(domain):
                continue
            yield domain
            return
    raise ValueError(f"all {DOMAINS} ROS domains are in use on this machine")


def _has_nodes(domain: int) -> bool:
    """Whether a process of this machine listens where DDS does (RTPS 2.5, section 9.6.2)."""
    first = 7400 + 250 * domain
    ports = [first, *(first + 10 + 2 * number for number in range(PARTICIPANTS))]
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return True
    return False
