"""Ctrl-C and SIGTERM during training: the step is finished and saved first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal and can be resumed.

    Attributes:
        number: of the signal.
        exit_status: what a process should end with: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped after step {step}; go on with --resume")
        self.number = number
        self.exit_status = 128 + number


class StopSignals:
    """Notes SIGINT and SIGTERM while a block runs; the second one stops at once.

    Outside of a process's main thread, where Python takes no signals, it notes none.

    Attributes:
        received: number of the signal that came, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at_step: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._at_step is not None:
            raise Interrupted(number, self._at_step)
        if self.received:
            raise KeyboardInterrupt
        self.received = number
        _LOG.warning("%s: saves after this step and stops", signal.Signals(number).name)

    @contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """Lets a signal stop the block at once, because the state of `step` is saved already.

        Raises:
            Interrupted: a signal came, in the block or before it.
        """
        if self.received:
            raise Interrupted(self.received, step)
        self._at_step = step
        try:
            yield
        finally:
            self._at_step = None
