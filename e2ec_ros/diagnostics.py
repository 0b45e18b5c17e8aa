"""The node's health as `/diagnostics`: rates, drops, failures, latency, what runs where."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from e2ec_ros.messages import FrameTiming, ModelDescription
from e2ec_ros.statistics import StatisticsReport

PERIOD = 1.0  # s


def diagnostic_array(
    report: StatisticsReport, model: ModelDescription, *, name: str, active: bool, header: Header
) -> DiagnosticArray:
    """The message for one report.

    Args:
        report: what happened since the last one.
        model: what runs.
        name: the node's name.
        active: whether the node is active; an inactive one is not expected to see images.
        header: with the time of the report.

    Returns:
        one status: WARN when frames failed or an active node got none, else OK.
    """
    level, message = judge(report, active=active)
    values = {**_counts(report), **_latencies(report.timings), **_model(model)}
    status = DiagnosticStatus(
        level=level,
        name=f"{name}: segmentation",
        message=message,
        hardware_id=model.device,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header, status=[status])


def judge(report: StatisticsReport, *, active: bool) -> tuple[bytes, str]:
    """Level and one line for a report."""
    if report.recent.failed:
        return DiagnosticStatus.WARN, f"{report.recent.failed} failed: {report.last_failure}"
    if not active:
        return DiagnosticStatus.OK, "inactive"
    if report.recent.received == 0 and report.recent.published == 0:
        return DiagnosticStatus.WARN, "no images"
    return DiagnosticStatus.OK, f"{report.recent.published / report.period:.1f} images per second"


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
