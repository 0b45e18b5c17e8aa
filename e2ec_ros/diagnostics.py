"""A camera's health as `/diagnostics`: rates, drops, failures, latency, what runs where."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from e2ec_ros.messages import FrameTiming, ModelDescription
from e2ec_ros.statistics import StatisticsReport
from e2ec_ros.worker import Work

PERIOD = 1.0  # s
QUIET_TIME = 3.0  # s without contours, or without images, that a slow model or camera may take
LONGEST_QUIET_TIME = 10.0  # s; then it is an error


def diagnostic_status(
    report: StatisticsReport,
    model: ModelDescription,
    *,
    name: str,
    active: bool,
    work: Work | None,
    wanted: bool,
) -> DiagnosticStatus:
    """Builds the part of the message for one report.

    Args:
        report: what happened since the last one.
        model: what runs.
        name: of the node and its camera.
        active: whether the node is active; an inactive one is not expected to see images.
        work: what the inference thread does now that the camera waits for.
        wanted: whether somebody listens, or need not.
    """
    level, message = judge(report, active=active, work=work, wanted=wanted)
    values = {**_counts(report), **_latencies(report.timings), **_model(model)}
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=model.device,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def judge(
    report: StatisticsReport, *, active: bool, work: Work | None, wanted: bool = True
) -> tuple[bytes, str]:
    """Returns level and one line for a report: OK only when contours come, or none are expected.

    An image that cannot be read is a warning; a model or a machine that fails is an error, and so
    is a long time without contours.
    """
    quiet = report.since_published
    if report.recent.failed:
        bad = report.defective or (active and quiet > LONGEST_QUIET_TIME)
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.WARN
        return level, f"{report.recent.failed} failed: {report.last_failure}"
    hangs = work is not None and work.seconds > QUIET_TIME
    if not active:
        return (DiagnosticStatus.WARN if hangs else DiagnosticStatus.OK), (
            f"inactive, but {_busy(work)}" if hangs else "inactive"
        )
    if report.recent.published:
        rate = report.recent.published / report.period
        return DiagnosticStatus.OK, f"{rate:.1f} images per second"
    if not wanted and work is None:
        return DiagnosticStatus.OK, "nobody listens"
    if work is None and report.since_received is None:
        return DiagnosticStatus.WARN, "no images"
    if work is None and report.since_received > QUIET_TIME:
        return DiagnosticStatus.WARN, f"no images for {report.since_received:.0f} s"
    if quiet <= QUIET_TIME:
        return DiagnosticStatus.OK, f"last contours {quiet:.1f} s ago"
    level = DiagnosticStatus.ERROR if quiet > LONGEST_QUIET_TIME else DiagnosticStatus.WARN
    return level, f"no contours for {quiet:.0f} s: {_busy(work)}"


def _busy(work: Work | None) -> str:
    """Says what keeps the inference thread from the next image."""
    if work is None:
        return "images come, but none is processed"
    what = "the image in work" if work.kind == "frame" else "a call of ~/segment"
    return f"{what} has taken {work.seconds:.1f} s so far"


def _counts(report: StatisticsReport) -> dict[str, str]:
    totals, recent = report.totals, report.recent
    return {
        "images received": str(totals.received),
        "contours published": str(totals.published),
        "images dropped": str(totals.dropped),
        "images failed": str(totals.failed),
        "overlays drawn": str(totals.overlays),
        "input rate (Hz)": f"{recent.received / report.period:.2f}",
        "output rate (Hz)": f"{recent.published / report.period:.2f}",
        "last failure": report.last_failure,
    }


def _latencies(timings: Sequence[FrameTiming]) -> dict[str, str]:
    if not timings:
        return {}
    parts = ("queue", "preprocess", "inference", "postprocess", "total", "pipeline")
    means = {
        part: sum(getattr(timing, part) for timing in timings) / len(timings) for part in parts
    }
    worst = max(timing.total for timing in timings)
    return {
        **{f"mean {part} (ms)": f"{mean * 1e3:.1f}" for part, mean in means.items()},
        "largest total (ms)": f"{worst * 1e3:.1f}",
    }


def _model(model: ModelDescription) -> dict[str, str]:
    return {
        "model": model.name,
        "weights sha256": model.weights_sha256,
        "device": model.device,
        "precision": model.precision,
    }
