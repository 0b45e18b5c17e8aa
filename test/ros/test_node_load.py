"""The node under more images than it can handle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench


def test_old_frames_are_dropped_and_counted_and_services_answer(
    bench: Bench, make_node: Callable[..., SegmentationNode]
) -> None:
    # Large for the network, so that 50 images per second are too many for any CPU.
    node = make_node(short_side=640, long_side=0)
    assert bench.transition("configure")
    assert bench.transition("activate")
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    publisher = bench.node.create_publisher(Image, "/image", 1)
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    bench.wait(lambda: bench.node.count_publishers("/e2ec/contours") > 0)
    message = fill_image(Image(), np.full((64, 96, 3), 90, np.uint8))

    timer = bench.node.create_timer(0.02, lambda: publish(publisher, message))
    waits = []
    for _ in range(20):
        begun = time.monotonic()
        bench.call(GetParameters, "/e2ec/get_parameters", GetParameters.Request(names=["stage"]))
        waits.append(time.monotonic() - begun)
    bench.wait(lambda: len(answers) >= 5)
    bench.node.destroy_timer(timer)

    assert node._configured is not None
    statistics = node._configured.statistics
    time.sleep(0.2)  # what is on the way arrives
    bench.wait(lambda: settled(statistics.totals))
    totals = statistics.totals
    bench.wait(lambda: len(answers) == totals.published)
    assert totals.dropped > 0
    assert sum(answer.timing.dropped for answer in answers) == totals.dropped
    assert totals.received == totals.published + totals.dropped
    # The mailbox holds one frame: none waits longer than one inference and a little.
    slowest = max(answer.timing.inference for answer in answers)
    assert all(answer.timing.queue < slowest + 0.5 for answer in answers)
    # In the usual design every service waits for the inference that runs.
    assert np.median(waits) < np.median([answer.timing.inference for answer in answers])


def publish(publisher: object, message: Image) -> None:
    publisher.publish(message)  # type: ignore[attr-defined]


def settled(totals: object) -> bool:
    return totals.received == totals.published + totals.dropped + totals.failed  # type: ignore[attr-defined]
