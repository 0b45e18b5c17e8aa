"""How far a run is, and how it goes on when it is stopped."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from e2ec_core.commands.failures import complain
from e2ec_core.commands.predict_state import RunState

PERIOD = 30.0
"""Seconds between two lines where no terminal shows a bar."""


class Progress:
    """A bar on a terminal; elsewhere (nohup, a log) a line now and then on stderr.

    Args:
        total: what there is to do.
        unit: of it, a plural.
        done: what was done before.
        keep: whether the bar stays when all is done.
    """

    def __init__(self, total: int, unit: str, done: int = 0, *, keep: bool = True) -> None:
        shown = sys.stderr.isatty() and total > 1
        self._bar = tqdm(total=total, initial=done, unit=unit, leave=keep, disable=not shown)
        self._total, self._unit = total, unit
        self._done, self._before = done, done
        self._begin = self._told = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, count: int) -> None:
        """Counts what was done, and says so where it is time."""
        self._bar.update(count)
        self._done += count
        now = time.monotonic()
        if self._bar.disable and now - self._told >= PERIOD:
            self._told = now
            rate = (self._done - self._before) / (now - self._begin)
            unit = self._unit
            complain("predict", f"{self._done} of {self._total} {unit}, {rate:.1f} {unit}/s")


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM came; says how to go on.

    Attributes:
        exit_status: what the process should end with: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, state: RunState, number: int) -> None:
        done = len(state.done)
        hint = f"; {done} parts are done, the same line with --resume goes on" if done else ""
        super().__init__(f"interrupted{hint}")
        self.exit_status = 128 + number


@contextmanager
def stoppable(state: RunState) -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM raise `Stopped`."""

    def stop(number: int, _: object) -> None:
        raise Stopped(state, number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
