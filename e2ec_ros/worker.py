"""One inference thread, and for each camera a mailbox that keeps only the newest frame."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LONGEST_PAUSE = 1.0
"""Time without frames after which no batch waits for a camera any more, s."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the thread does now: a frame of the stream or a call, and for how long, s."""

    kind: Literal["frame", "call"]
    seconds: float


class Mailbox(Generic[T]):
    """The newest frame of one camera, until the inference thread takes it; made by its worker.

    A frame that waits while a newer one arrives is dropped and counted, so latency does not grow.
    """

    def __init__(self, condition: threading.Condition) -> None:
        self._condition = condition  # that of the worker, whose thread reads what is here
        self.process: Callable[[T, int], None] | None = None  # None while closed
        self.on_error: Callable[[Exception], None] = _log
        self.slot: list[T] = []  # at most one
        self.full_since = 0.0  # when the slot was empty last, s of `time.monotonic`
        self.heard_at = -LONGEST_PAUSE  # when the latest frame came, likewise
        self.dropped = 0

    def open(
        self, process: Callable[[T, int], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Accepts frames from now on.

        Args:
            process: called on the thread with a frame and the number dropped since the last one.
            on_error: called on the thread with what `process` raised; the thread goes on.
        """
        with self._condition:
            self.process, self.on_error = process, on_error

    def offer(self, frame: T) -> None:
        """Leaves a frame for the thread; never blocks.

        Drops the frame that waited, if any, or the offered one when the mailbox is closed.
        """
        with self._condition:
            self.dropped += len(self.slot) if self.process else 1
            if self.process:
                self.heard_at = time.monotonic()
                if not self.slot:
                    self.full_since = self.heard_at
                self.slot[:] = [frame]
                self._condition.notify_all()

    def close(self) -> None:
        """Accepts no more frames and drops the one that waits."""
        with self._condition:
            self.process = None
            self.dropped += len(self.slot)
            self.slot.clear()


@dataclass(frozen=True)
class Taken(Generic[T]):
    """A frame, the mailbox it was in, and the number dropped there since the last one."""

    mailbox: Mailbox[T]
    frame: T
    dropped: int


class InferenceWorker(Generic[T]):
    """A thread that owns the model: frames come through mailboxes of one frame, the newest wins.

    PyTorch is fastest when a model always runs on the same thread, and the ROS executor stays
    free to answer services. The mailboxes take turns: a frame waits for one of each other camera
    at most, however fast those are. Calls and frames take turns too, and at most one call waits,
    so calls delay a frame by one call at most. With `batch` the thread takes the frames of several
    mailboxes at once.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._mailboxes: list[Mailbox[T]] = []  # the one whose turn is next stands first
        self._call: tuple[Future[Any], Callable[[], None]] | None = None
        self._kind: Literal["frame", "call"] = "frame"  # of the current or latest work
        self._served: Sequence[Mailbox[T]] = ()  # of the current or latest frames
        self._wait: Callable[[], float] = lambda: 0.0
        self._process_batch: Callable[[Sequence[Taken[T]]], None] = lambda frames: None
        self._since: float | None = None  # start of the current work, s; None when idle
        self._stopping = False
        # A daemon: a hung driver call must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="e2ec_inference", daemon=True)
        self._thread.start()

    def mailbox(self) -> Mailbox[T]:
        """Makes a mailbox, closed, for one more camera."""
        made: Mailbox[T] = Mailbox(self._condition)
        with self._condition:
            self._mailboxes.append(made)
        return made

    def batch(
        self, wait: Callable[[], float], process: Callable[[Sequence[Taken[T]]], None]
    ) -> None:
        """Takes frames of several mailboxes at once from now on.

        Args:
            wait: gives the longest time that a frame waits for those of other mailboxes, s; 0:
                they are taken one by one. No frame waits for a mailbox that is closed, or that
                has been empty for `LONGEST_PAUSE`.
            process: called on the thread with two frames or more; it reports their errors. A
                single frame goes to its mailbox's own `process`.
        """
        with self._condition:
            self._wait, self._process_batch = wait, process

    def work_for(self, mailbox: Mailbox[T]) -> Work | None:
        """What the thread does now that a camera waits for; None when it waits for nothing."""
        with self._condition:
            concerned = self._kind == "call" or mailbox in self._served or mailbox.slot
            if self._since is None or not concerned:
                return None
            return Work(kind=self._kind, seconds=time.monotonic() - self._since)

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

    def wait_until_idle(self, timeout: float) -> bool:
        """Waits until the thread has nothing to do, at most `timeout` s; whether it came to it."""
        with self._condition:
            return self._condition.wait_for(lambda: self._since is None, timeout)

    def stop(self, timeout: float) -> bool:
        """Ends the thread; waits at most `timeout` s. Returns whether it ended."""
        with self._condition:
            self._stopping = True
            for mailbox in self._mailboxes:
                mailbox.close()
            waiting, self._call = self._call, None
            self._condition.notify_all()
        if waiting is not None:
            waiting[0].cancel()  # or somebody would wait for ever
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            run, on_error = work
            try:
                run()
            except Exception as error:
                self.report(error, on_error)
            finally:
                del work, run, on_error  # else the frame and its image live until the next one
                with self._condition:
                    self._since = None
                    self._condition.notify_all()

    def report(self, error: Exception, on_error: Callable[[Exception], None]) -> None:
        """Gives the error of a frame to its handler, unless the thread is to end."""
        if self._stopping:
            return  # its publishers are gone, and nobody counts the frame any more
        try:
            on_error(error)
        except Exception as second:  # the thread must outlive it
            _log(second)

    def _next(self) -> tuple[Callable[[], None], Callable[[Exception], None]] | None:
        """Waits for something to do; returns it with its error handler, None to end."""
        with self._condition:
            while not (self._stopping or self._call):
                left = self._time_left()
                if left is not None and left <= 0:
                    break
                self._condition.wait(left)
            if self._stopping:
                return None
            self._since = time.monotonic()
            full = self._full()
            if self._call is not None and not (full and self._kind == "call"):
                self._kind, run = "call", self._call[1]
                self._call = None
                return run, _log
            taken = [self._take(mailbox) for mailbox in (full if self._wait() else full[:1])]
            self._kind, self._served = "frame", [each.mailbox for each in taken]
            if len(taken) > 1:
                return (lambda: self._process_batch(taken)), _log
            (one,) = taken
            process = one.mailbox.process
            assert process is not None
            return (lambda: process(one.frame, one.dropped)), one.mailbox.on_error

    def _full(self) -> list[Mailbox[T]]:
        return [mailbox for mailbox in self._mailboxes if mailbox.slot]

    def _time_left(self) -> float | None:
        """Time for which the frames that are there wait for others, s; None if there are none."""
        full, wait = self._full(), self._wait()
        if not full or not wait:
            return 0.0 if full else None
        now = time.monotonic()
        if any(
            m.process and not m.slot and now - m.heard_at < LONGEST_PAUSE for m in self._mailboxes
        ):
            return min(mailbox.full_since for mailbox in full) + wait - now
        return 0.0

    def _take(self, mailbox: Mailbox[T]) -> Taken[T]:
        """Empties a mailbox, whose turn is last then."""
        self._mailboxes.remove(mailbox)
        self._mailboxes.append(mailbox)
        taken = Taken(mailbox, mailbox.slot.pop(), mailbox.dropped)
        mailbox.dropped = 0
        return taken


def _log(error: Exception) -> None:
    logging.getLogger(__name__).error("inference thread", exc_info=error)
