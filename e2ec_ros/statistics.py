"""Counts and durations of the frames, shared by the threads of the node."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

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
        last_failure: why the latest failed frame failed; empty when none ever did.
    """

    totals: FrameCounts
    recent: FrameCounts
    period: float
    timings: tuple[FrameTiming, ...]
    last_failure: str


@dataclass
class FrameStatistics:
    """Counters that any thread may raise."""

    _totals: FrameCounts = field(default_factory=FrameCounts)
    _reported: FrameCounts = field(default_factory=FrameCounts)
    _timings: list[FrameTiming] = field(default_factory=list)
    _last_failure: str = ""
    _reported_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, received: int = 0, dropped: int = 0, overlays: int = 0) -> None:
        """Adds to the totals."""
        with self._lock:
            self._totals = replace(
                self._totals,
                received=self._totals.received + received,
                dropped=self._totals.dropped + dropped,
                overlays=self._totals.overlays + overlays,
            )

    def published(self, timing: FrameTiming) -> None:
        """One frame became a message."""
        with self._lock:
            self._totals = replace(self._totals, published=self._totals.published + 1)
            self._timings.append(timing)

    def failed(self, reason: str) -> None:
        """One frame could not be processed."""
        with self._lock:
            self._totals = replace(self._totals, failed=self._totals.failed + 1)
            self._last_failure = reason

    @property
    def totals(self) -> FrameCounts:
        """Counts since configure."""
        with self._lock:
            return self._totals

    def report(self) -> StatisticsReport:
        """What happened since the last call."""
        now = time.monotonic()
        with self._lock:
            totals, before = self._totals, self._reported
            report = StatisticsReport(
                totals=totals,
                recent=FrameCounts(
                    **{name: count - getattr(before, name) for name, count in vars(totals).items()}
                ),
                period=max(now - self._reported_at, 1e-9),
                timings=tuple(self._timings),
                last_failure=self._last_failure,
            )
            self._timings, self._reported, self._reported_at = [], totals, now
        return report
