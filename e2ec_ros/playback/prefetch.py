"""An iterator that works ahead on a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Iterator[T], Generic[T]):
    """Takes items from another iterator before they are asked for.

    Args:
        items: where they come from; used on the thread only. Its exception ends the iteration
            and is raised again.
        ahead: how many items wait at most.
        newest: a new item replaces the oldest that waits, instead of waiting for its place.
    """

    def __init__(self, items: Iterator[T], ahead: int = 2, *, newest: bool = False) -> None:
        self._items = items
        self._newest = newest
        self._ready: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="e2ec_prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        return self.take(None)

    def take(self, timeout: float | None) -> T:
        """Returns the next item; waits at most `timeout` s for it, None for ever.

        Raises:
            queue.Empty: no item came in time.
            StopIteration: the other iterator is at its end.
        """
        item, error = self._ready.get(timeout=timeout) if timeout != 0 else self._ready.get(False)
        if error is not None:
            self._ready.put((None, error))  # it stays at its end
            raise error
        assert item is not None
        return item

    def close(self, timeout: float) -> bool:
        """Ends the thread; waits at most `timeout` s. Returns whether it ended."""
        self._closed.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                item = next(self._items)
            except Exception as error:  # StopIteration too
                self._put(None, error)
                break
            if self._newest:
                self._put_newest(item)
            else:
                self._put(item, None)
        close = getattr(self._items, "close", None)  # of a generator: frees its file or camera
        if close is not None:
            close()

    def _put(self, item: T | None, error: Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def _put_newest(self, item: T) -> None:
        if self._ready.full():
            with suppress(queue.Empty):  # its reader was faster
                self._ready.get(False)
        self._ready.put((item, None))
