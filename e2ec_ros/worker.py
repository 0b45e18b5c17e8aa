"""One inference thread with a mailbox that keeps only the newest frame."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class InferenceWorker(Generic[T]):
    """A thread that owns the model: frames come through a one-slot mailbox, the newest wins.

    PyTorch is fastest when a model always runs on the same thread, and the ROS executor stays
    free to answer services. A frame that waits while a newer one arrives is dropped and counted,
    so latency never grows beyond one frame's work.
    """

    def __init__(
        self, process: Callable[[T, int], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Starts the thread; it accepts frames only after `open`.

        Args:
            process: called on the thread with a frame and the number dropped since the last one.
            on_error: called on the thread with what `process` raised; the thread goes on.
        """
        self._process = process
        self._on_error = on_error
        self._condition = threading.Condition()
        self._slot: list[T] = []  # at most one
        self._calls: deque[tuple[Future[Any], Callable[[], None]]] = deque()
        self._dropped = 0
        self._accepting = False
        self._busy = False
        self._stopping = False
        # A daemon: a hung driver call must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="e2ec_inference", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Frames are accepted from now on."""
        with self._condition:
            self._accepting = True

    def offer(self, frame: T) -> None:
        """Leaves a frame for the thread; never blocks.

        Drops the frame that waited, if any, or the offered one when the mailbox is closed.
        """
        with self._condition:
            self._dropped += len(self._slot) if self._accepting else 1
            if self._accepting:
                self._slot[:] = [frame]
                self._condition.notify_all()

    def call(self, function: Callable[[], R]) -> Future[R]:
        """Runs a function on the thread, before the frame that waits.

        Returns:
            a future of what it returns; cancelled when the worker stops first.
        """
        future: Future[R] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except BaseException as error:  # goes to whoever waits for the future
                future.set_exception(error)

        with self._condition:
            if self._stopping:
                future.cancel()
            else:
                self._calls.append((future, run))
                self._condition.notify_all()
        return future

    def close(self, timeout: float) -> bool:
        """Accepts no more frames, drops the one that waits and lets the current one finish.

        Args:
            timeout: longest wait, s.

        Returns:
            whether the thread came to rest in time.
        """
        with self._condition:
            self._accepting = False
            self._dropped += len(self._slot)
            self._slot.clear()
            return self._condition.wait_for(lambda: not self._busy, timeout)

    def stop(self, timeout: float) -> bool:
        """Ends the thread; waits at most `timeout` s. Returns whether it ended."""
        with self._condition:
            self._accepting, self._stopping = False, True
            self._slot.clear()
            self._condition.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as error:
                self._on_error(error)
            finally:
                del work  # else the frame and its image live until the next one
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Waits for something to do; None when the thread is to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._calls or self._slot)
            if self._stopping:
                for future, _ in self._calls:
                    future.cancel()  # or somebody would wait for ever
                return None
            self._busy = True
            if self._calls:
                return self._calls.popleft()[1]
            frame, dropped = self._slot.pop(), self._dropped
            self._dropped = 0
            return lambda: self._process(frame, dropped)
