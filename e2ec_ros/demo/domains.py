"""ROS domains that no other demo or test on this machine uses at the same time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_used = count()
DOMAINS = 101  # 1 to 101; larger ones meet the ports that Linux gives to clients


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that stays reserved inside the `with`.

    Reserved by a lock on a file in the temporary folder, which the system takes off when the
    process ends, however it ends.

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
            yield domain
            return
    raise ValueError(f"all {DOMAINS} ROS domains are in use by demos and tests on this machine")
