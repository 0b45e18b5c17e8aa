"""One inference thread with a mailbox that keeps only the newest frame."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the thread does now: a frame of the stream or a call, and for how long, s."""

    kind: Literal["frame", "call"]
    seconds: float


class InferenceWorker(Generic[T]):
    """A thread that owns the model: frames come through a one-slot mailbox, the newest wins.

    PyTorch is fastest when a model always runs on the same thread, and the ROS executor stays
    free to answer services. A frame that waits while a newer one arrives is dropped and counted,
    so latency never grows beyond one frame's work. Calls and frames take turns, and at most one
    call waits, so calls delay a frame by one call at most.
    """

    def __init__(self) -> None:
        self._process: Callable[[T, int], None] | None = None  # None while closed
        self._on_error: Callable[[Exception], None] = _log
        self._condition = threading.Condition()
        self._slot: list[T] = []  # at most one
        self._call: tuple[Future[Any], Callable[[], None]] | None = None
        self._dropped = 0
        self._kind: Literal["frame", "call"] = "frame"  # of the current or latest work
        self._since: float | None = None  # start of the current work, s; None when idle
        self._stopping = False
        # A daemon: a hung driver call must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="e2ec_inference", daemon=True)
        self._thread.start()

    def open(
        self, process: Callable[[T, int], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Accepts frames from now on.

        Args:
            process: called on the thread with a frame and the number dropped since the last one.
            on_error: called on the thread with what `process` raised; the thread goes on.
        """
        with self._condition:
            self._process, self._on_error = process, on_error

    @property
    def work(self) -> Work | None:
        """What the thread does now; None when it waits."""
        with self._condition:
            if self._since is None:
                return None
            return Work(kind=self._kind, seconds=time.monotonic() - self._since)

    def offer(self, frame: T) -> None:
        """Leaves a frame for the thread; never blocks.

        Drops the frame that waited, if any, or the offered one when the mailbox is closed.
        """
        with self._condition:
            self._dropped += len(self._slot) if self._process else 1
            if self._process:
                self._slot[:] = [frame]
                self._condition.notify_all()

    def call(self, function: Callable[[], R]) -> Future[R]:
        """Runs a function on the thread, after the frame in work.

        Returns:
            a future of what it returns; cancelled when the worker stops first.

        Raises:
            ValueError: another call waits already.
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
            elif self._call is not None:
                raise ValueError("busy: another request waits already; ask again later")
            else:
                self._call = future, run
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
            self._process = None
            self._dropped += len(self._slot)
            self._slot.clear()
            return self._condition.wait_for(lambda: self._since is None, timeout)

    def stop(self, timeout: float) -> bool:
        """Ends the thread; waits at most `timeout` s. Returns whether it ended."""
        with self._condition:
            self._process, self._stopping = None, True
            self._slot.clear()
            waiting, self._call = self._call, None
            self._condition.notify_all()
        if waiting is not None:
            waiting[0].cancel()  # or somebody would wait for ever
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as error:
                self._report(error)
            finally:
                del work  # else the frame and its image live until the next one
                with self._condition:
                    self._since = None
                    self._condition.notify_all()

    def _report(self, error: Exception) -> None:
        if self._stopping:
            return  # its publishers are gone, and nobody counts the frame any more
        try:
            self._on_error(error)
        except Exception as second:  # the thread must outlive it
            _log(second)

    def _next(self) -> Callable[[], None] | None:
        """Waits for something to do; None when the thread is to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._call or self._slot)
            if self._stopping:
                return None
            self._since = time.monotonic()
            if self._call is not None and not (self._slot and self._kind == "call"):
                self._kind, run = "call", self._call[1]
                self._call = None
                return run
            assert self._process is not None
            self._kind, frame, dropped = "frame", self._slot.pop(), self._dropped
            self._dropped, process = 0, self._process
            return lambda: process(frame, dropped)


def _log(error: Exception) -> None:
    logging.getLogger(__name__).error("inference thread", exc_info=error)
