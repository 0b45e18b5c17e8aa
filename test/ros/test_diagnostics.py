"""What the diagnostics say of a report: they judge by what comes out."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from e2ec_ros.diagnostics import judge
from e2ec_ros.statistics import FrameCounts, FrameStatistics, StatisticsReport
from e2ec_ros.worker import Work

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
NONE = FrameCounts()


@pytest.mark.parametrize(
    ("report", "work", "level", "message"),
    [
        ({"recent": FrameCounts(received=9, published=4)}, None, OK, "4.0 images per second"),
        ({}, None, WARN, "no images"),
        ({"since_received": 1.0, "since_published": 1.2}, None, OK, "last contours 1.2 s ago"),
        ({"since_received": 7.0, "since_published": 6.9}, None, WARN, "no images for 7 s"),
        (
            {"since_received": 0.1, "since_published": 5.0},
            Work(kind="frame", seconds=4.9),
            WARN,
            "no contours for 5 s: the image in work has taken 4.9 s so far",
        ),
        (  # the camera waits for the contours, so no image comes any more
            {"since_received": 40.0, "since_published": 40.0},
            Work(kind="frame", seconds=40.0),
            ERROR,
            "no contours for 40 s: the image in work has taken 40.0 s so far",
        ),
        (
            {"since_received": 0.1, "since_published": 12.0},
            Work(kind="call", seconds=12.0),
            ERROR,
            "no contours for 12 s: a call of ~/segment has taken 12.0 s so far",
        ),
        (
            {"recent": FrameCounts(received=3), "since_received": 0.1, "since_published": 4.0},
            None,
            WARN,
            "no contours for 4 s: images come, but none is processed",
        ),
        (
            {"recent": FrameCounts(failed=1, published=8), "last_failure": "width is 0"},
            None,
            WARN,
            "1 failed: width is 0",
        ),
        (
            {"recent": FrameCounts(failed=2), "last_failure": "width is 0", "since_published": 11},
            None,
            ERROR,
            "2 failed: width is 0",
        ),
        (
            {"recent": FrameCounts(failed=1), "last_failure": "out of memory", "defective": True},
            None,
            ERROR,
            "1 failed: out of memory",
        ),
    ],
)
def test_an_active_node_is_judged_by_its_output(
    report: dict[str, object], work: Work | None, level: bytes, message: str
) -> None:
    given = StatisticsReport(**{"totals": NONE, "recent": NONE, **report})  # type: ignore[arg-type]
    assert judge(given, active=True, work=work) == (level, message)


def test_an_inactive_node_owes_nothing_but_may_hang() -> None:
    report = StatisticsReport(totals=NONE, recent=NONE, since_published=100.0)
    assert judge(report, active=False, work=None) == (OK, "inactive")
    work = Work(kind="frame", seconds=9.0)
    assert judge(report, active=False, work=work) == (
        WARN,
        "inactive, but the image in work has taken 9.0 s so far",
    )


def test_a_node_that_nobody_listens_to_owes_nothing() -> None:
    report = StatisticsReport(totals=NONE, recent=NONE, since_published=100.0)
    assert judge(report, active=True, work=None, wanted=False) == (OK, "nobody listens")


def test_a_report_holds_what_came_since_the_last_one() -> None:
    statistics = FrameStatistics()
    statistics.received()
    statistics.failed("first", defective=True)
    first = statistics.report()
    assert (first.recent.failed, first.defective, first.last_failure) == (1, True, "first")
    statistics.received()
    statistics.dropped(2)
    second = statistics.report()
    assert second.recent == FrameCounts(received=1, dropped=2)
    assert second.totals == FrameCounts(received=2, dropped=2, failed=1)
    assert (second.defective, second.last_failure) == (False, "first")
    assert second.since_received is not None
    assert second.since_received < 1.0
