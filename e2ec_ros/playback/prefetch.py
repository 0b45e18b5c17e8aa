"""An iterator that works ahead on a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Iterator[T], Generic[T]):
    """Takes items from another iterator before they are asked for.

    A ValueError of the other iterator is raised in its place among the items and does not end the
    iteration; any other exception does.
    """

    def __init__(self, items: Iterator[T], ahead: int = 2) -> None:
        """Starts the thread.

        Args:
            items: where they come from; used on the thread only.
            ahead: how many wait at most.
        """
        self._items = items
        self._ready: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="e2ec_prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        item, error = self._ready.get()
        if error is not None:
            if not isinstance(error, ValueError):
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
                self._put(next(self._items), None)
            except ValueError as error:
                self._put(None, error)
            except Exception as error:  # StopIteration too
                self._put(None, error)
                return

    def _put(self, item: T | None, error: Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return
