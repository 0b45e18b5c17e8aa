"""The iterator that works ahead."""

from __future__ import annotations

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


def test_a_bad_item_is_raised_in_its_place() -> None:
    def check(number: int) -> int:
        if number == 1:
            raise ValueError("one is bad")
        return number

    items = Prefetched(map(check, range(3)))
    assert next(items) == 0
    with pytest.raises(ValueError, match="one is bad"):
        next(items)
    assert list(items) == [2]


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
