"""Counts and durations of the frames, shared by the threads of the node."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from e2ec_ros.messages import FrameTiming


@dataclass(frozen=True, kw_only=True)
class FrameCounts:
    """Totals since configure.

    `received` = published + dropped + failed, once no frame is in work: a dropped frame is counted
    when the next one is taken.
    """

    received: int = 0
    published: int = 0
    dropped: int = 0
    failed: int = 0
    overlays: int = 0


@dataclass(frozen=True, kw_only=True)
class StatisticsReport:
    """What happened since the report before.

    Attributes:
        totals: counts since configure.
        recent: counts since the last report.
        period: time since the last report, s.
        timings: of the frames published since the last report.
        since_received: time since the last image, s; None before the first.
        since_published: time since the last contours, or since activation without any, s.
        last_failure: why the latest failed frame failed; empty when none ever did.
        defective: whether the model or the machine failed since the last report, not an image.
    """

    totals: FrameCounts
    recent: FrameCounts
    period: float = 1.0
    timings: tuple[FrameTiming, ...] = ()
    since_received: float | None = None
    since_published: float = 0.0
    last_failure: str = ""
    defective: bool = False


class FrameStatistics:
    """Counters that any thread may raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = self._reported = FrameCounts()
        self._timings: list[FrameTiming] = []
        self._last_failure = ""
        self._defective = False
        self._received_at: float | None = None
        self._reported_at = self._published_at = time.monotonic()

    def activated(self) -> None:
        """Notes that images and contours are expected from now on."""
        with self._lock:
            self._received_at = None
            self._published_at = time.monotonic()

    def received(self) -> None:
        """Counts one image that came."""
        with self._lock:
            self._add(received=1)
            self._received_at = time.monotonic()

    def dropped(self, count: int) -> None:
        """Counts images that nobody processed."""
        with self._lock:
            self._add(dropped=count)

    def published(self, timing: FrameTiming) -> None:
        """Counts one frame that became a message."""
        with self._lock:
            self._add(published=1)
            self._timings.append(timing)
            self._published_at = time.monotonic()

    def overlay_drawn(self) -> None:
        """Counts one overlay."""
        with self._lock:
            self._add(overlays=1)

    def failed(self, reason: str, *, defective: bool) -> None:
        """Counts one frame that could not be processed; `defective` as in the report."""
        with self._lock:
            self._add(failed=1)
            self._last_failure = reason
            self._defective |= defective

    @property
    def totals(self) -> FrameCounts:
        """Counts since configure."""
        with self._lock:
            return self._totals

    def report(self) -> StatisticsReport:
        """Returns what happened since the last call."""
        now = time.monotonic()
        with self._lock:
            before = vars(self._reported)
            recent = {name: count - before[name] for name, count in vars(self._totals).items()}
            report = StatisticsReport(
                totals=self._totals,
                recent=FrameCounts(**recent),
                period=max(now - self._reported_at, 1e-9),
                timings=tuple(self._timings),
                since_received=None if self._received_at is None else now - self._received_at,
                since_published=now - self._published_at,
                last_failure=self._last_failure,
                defective=self._defective,
            )
            self._timings, self._defective = [], False
            self._reported, self._reported_at = self._totals, now
        return report

    def _add(self, **counts: int) -> None:
        now = vars(self._totals)
        changed = {name: now[name] + count for name, count in counts.items()}
        self._totals = replace(self._totals, **changed)
