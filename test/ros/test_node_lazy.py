"""`lazy`: images are asked for only while somebody wants a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.srv import SegmentImage

if TYPE_CHECKING:
    import pytest

    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

MESSAGE = fill_image(Image(), np.full((48, 64, 3), 90, np.uint8))


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def test_images_are_subscribed_to_while_somebody_listens(
    bench: Bench, make_node: MakeNode, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ec_ros.image_input.SILENCE_BEFORE_WARNING", 0.5)
    node = make_node(lazy=True)
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    publisher = bench.node.create_publisher(Image, "/image", 1)
    activate(bench)
    timer = bench.node.create_timer(0.05, lambda: publisher.publish(MESSAGE))
    nobody = (DiagnosticStatus.OK, "nobody listens")

    def judged() -> tuple[bytes, str]:
        status = diagnostics[-1].status[0] if diagnostics else DiagnosticStatus()
        return status.level, status.message

    bench.wait(lambda: judged() == nobody)
    time.sleep(1.0)  # four more looks at who listens
    assert publisher.get_subscription_count() == 0
    assert node.engine is not None
    assert node.engine.streams[0].statistics.totals.received == 0
    assert not any("no image on" in line for line in console())

    for kind, topic in ((InstanceContourArray, "/e2ec/contours"), (MarkerArray, "/e2ec/markers")):
        before = node.engine.streams[0].statistics.totals.published
        listener = bench.node.create_subscription(kind, topic, lambda _: None, 1)
        bench.wait(lambda b=before: node.engine.streams[0].statistics.totals.published > b + 2)  # type: ignore[misc,union-attr]
        bench.node.destroy_subscription(listener)
        bench.wait(lambda: publisher.get_subscription_count() == 0)
        bench.wait(lambda: judged() == nobody)

    bench.node.destroy_timer(timer)
    assert bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request(image=MESSAGE)).success
    assert bench.set("lazy", False) == ""
    bench.wait(lambda: publisher.get_subscription_count() == 1)


def test_each_camera_is_lazy_by_itself(bench: Bench, make_node: MakeNode) -> None:
    make_node(lazy=True, cameras=["front", "left"])
    activate(bench)
    front, left = (bench.node.create_publisher(Image, f"/{c}/image", 1) for c in ("front", "left"))
    answers = bench.listen(InstanceContourArray, "/left/e2ec/contours")
    bench.wait(lambda: left.get_subscription_count() == 1)
    bench.wait(lambda: left.publish(MESSAGE) or answers)
    assert front.get_subscription_count() == 0
