"""Finding for each message of one kind the message of another kind that is nearest in time."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")

MOST_WAITING = 10  # messages; older ones are given up
TIME_JUMP = 1.0  # s backwards, after which what is kept belongs to another run


def stamp_of(message: Any) -> float:
    """A message's stamp, s. Exact to less than a microsecond."""
    stamp = message.header.stamp
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


class Pairing(Generic[A, B]):
    """Pairs results with the measurements of the same moment.

    Results come after their measurements as a rule, as they take time to make, so measurements
    are kept. One of exactly the same stamp is taken at once. Else the nearest is, as soon as a
    later measurement has come, or after a wait, as none may come.

    Args:
        keep: how many measurements are kept.
    """

    def __init__(self, keep: int) -> None:
        self._kept: deque[B] = deque(maxlen=keep)
        self._waiting: deque[tuple[A, float]] = deque(maxlen=MOST_WAITING)

    def add_result(self, result: A, now: float) -> None:
        """Takes a result; `now` is any steady time, s."""
        self._waiting.append((result, now))

    def add_measurement(self, measurement: B) -> None:
        """Takes a measurement; one from long before the last one starts anew."""
        if self._kept and stamp_of(measurement) < stamp_of(self._kept[-1]) - TIME_JUMP:
            self._kept.clear()
        self._kept.append(measurement)

    def take(self, now: float, tolerance: float, wait: float) -> list[tuple[A, B | None, float]]:
        """Gives the results that need not wait longer.

        Args:
            now: as for `add_result`.
            tolerance: the largest difference in time of a pair, s; 0: equal stamps only.
            wait: s after which a result is given in any case.

        Returns:
            each result with its measurement (None: there is none within the tolerance) and the
            difference in time to the nearest, s (infinity without any).
        """
        ready = []
        for entry in list(self._waiting):
            result, since = entry
            stamp = stamp_of(result)
            nearest = min(self._kept, key=lambda m: abs(stamp_of(m) - stamp), default=None)
            off = abs(stamp_of(nearest) - stamp) if nearest is not None else float("inf")
            same = nearest is not None and _header(nearest).stamp == _header(result).stamp
            later = any(stamp_of(m) > stamp for m in self._kept)
            if same or later or now - since >= wait:
                self._waiting.remove(entry)
                fits = same or (off <= tolerance and tolerance > 0)
                ready.append((result, nearest if fits else None, 0.0 if same else off))
        return ready

    def __len__(self) -> int:
        return len(self._waiting)


def _header(message: Any) -> Any:
    return message.header
