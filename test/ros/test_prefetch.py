"""The iterator that works ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from e2ec_ros.playback.prefetch import Prefetched


def test_items_come_in_order_and_the_end_stays_the_end() -> None:
    items = Prefetched(iter(range(20)))
    assert list(items) == list(range(20))
    with pytest.raises(StopIteration):
        next(items)
    assert items.close(1.0)


def test_other_errors_end_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    items = Prefetched(broken())
    assert next(items) == 1
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            next(items)


def test_it_stays_ahead_but_not_far_and_closes_while_it_waits() -> None:
    taken: list[int] = []
    full = threading.Event()

    def endless() -> Iterator[int]:
        for number in count():
            taken.append(number)
            if number == 2:
                full.set()
            yield number

    items = Prefetched(endless(), ahead=2)
    assert full.wait(3.0)
    assert items.close(3.0)
    assert taken == [0, 1, 2]


def test_of_a_live_source_only_the_newest_item_waits() -> None:
    given = threading.Event()

    def camera() -> Iterator[int]:
        yield from range(50)
        given.set()
        yield 50

    items = Prefetched(camera(), ahead=1, newest=True)
    assert given.wait(3.0)
    rest = list(items)
    assert len(rest) <= 2
    assert rest[-1] == 50


def test_taking_waits_no_longer_than_it_is_told() -> None:
    release = threading.Event()

    def slow() -> Iterator[int]:
        release.wait(10.0)
        yield 7

    items = Prefetched(slow())
    for timeout in (0.0, 0.05):
        with pytest.raises(queue.Empty):
            items.take(timeout)
    release.set()
    assert items.take(10.0) == 7


def test_closing_frees_what_the_other_iterator_holds() -> None:
    freed = threading.Event()

    def holder() -> Iterator[int]:
        try:
            yield from count()
        finally:
            freed.set()

    items = Prefetched(holder())
    assert next(items) == 0
    assert items.close(3.0)
    assert freed.is_set()
