"""Runs a command in several processes of this machine that train together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

_PATIENCE = 10.0
"""Seconds that the other processes have to end by themselves after one failed."""


def launch(processes: int, words: Sequence[str]) -> int:
    """Runs `e2ec WORDS` in several processes.

    A signal to this process is passed on to each of them once. What the first one says is shown;
    what the others say is shown only if they fail without the first. If one fails, the others
    are ended.

    Args:
        processes: how many.
        words: the command and its options.

    Returns:
        the exit status of the process that failed first, 0 if none did.
    """
    with tempfile.TemporaryFile("w+") as said:
        children: list[subprocess.Popen[str]] = []
        with _signals_passed_to(children):
            port = _free_port()
            for rank in range(processes):
                children.append(_start(rank, processes, port, words, None if not rank else said))
            try:
                status = _wait(children)
            finally:
                for child in children:
                    child.kill()
                    child.wait()
        if status and children[0].returncode in (0, -signal.SIGKILL):
            said.seek(0)
            sys.stderr.write(said.read())
    return status


def _start(
    rank: int, processes: int, port: int, words: Sequence[str], errors: IO[str] | None
) -> subprocess.Popen[str]:
    """Starts one process with the variables that torchrun would set."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
    variables |= {"MASTER_PORT": port}
    environment = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"} | os.environ
    return subprocess.Popen(
        [sys.executable, "-m", "e2ec_core.commands", *words],
        env=environment | {name: str(value) for name, value in variables.items()},
        stderr=errors,
        start_new_session=True,  # Ctrl-C comes from this process alone, and once
        text=True,
    )


def _wait(children: Sequence[subprocess.Popen[str]]) -> int:
    """Waits for all processes, or for a while after one of them failed; see `launch`."""
    failed, deadline = 0, float("inf")
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
        failures = [c.returncode for c in children if c.returncode]
        if failures and not failed:
            failed, deadline = failures[0], time.monotonic() + _PATIENCE
    codes = [failed, *(child.returncode or 0 for child in children)]
    code = next((code for code in codes if code), 0)
    return code if code >= 0 else 128 - code


@contextmanager
def _signals_passed_to(children: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """Sends SIGINT and SIGTERM on to the processes while the block runs."""

    def pass_on(number: int, _: Any) -> None:
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
