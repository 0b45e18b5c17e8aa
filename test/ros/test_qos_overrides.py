"""`qos_overrides` parameters: they hold over what the node would choose, and are checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.qos import latched, newest_only

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

BEST_EFFORT, RELIABLE = QoSReliabilityPolicy.BEST_EFFORT, QoSReliabilityPolicy.RELIABLE
MESSAGE = fill_image(Image(), np.full((48, 64, 3), 90, np.uint8))


def test_overrides_of_input_and_output_hold_through_every_transition(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    node = make_node(
        **{
            "qos_overrides./image.subscription.reliability": "best_effort",
            "qos_overrides./image.subscription.depth": 3,
            "qos_overrides./e2ec/contours.publisher.durability": "transient_local",
        }
    )
    publisher = bench.node.create_publisher(Image, "/image", newest_only(RELIABLE))
    find = bench.node.get_subscriptions_info_by_topic
    for label in ("configure", "activate", "deactivate", "cleanup", "configure", "activate"):
        assert bench.transition(label)
    bench.wait(lambda: [s.qos_profile.reliability for s in find("/image")] == [BEST_EFFORT])
    (subscription,) = (s for s in node.subscriptions if s.topic_name == "/image")
    assert subscription.qos_profile.depth == 3
    (info,) = bench.node.get_publishers_info_by_topic("/e2ec/contours")
    assert info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    (info,) = bench.node.get_publishers_info_by_topic("/e2ec/markers")
    assert info.qos_profile.durability == QoSDurabilityPolicy.VOLATILE
    assert node.engine is not None
    statistics = node.engine.streams[0].statistics
    bench.wait(lambda: publisher.publish(MESSAGE) or statistics.totals.published)
    bench.node.destroy_publisher(publisher)
    late = bench.listen(InstanceContourArray, "/e2ec/contours", latched())
    bench.wait(lambda: late)
    described = node.describe_parameter("qos_overrides./image.subscription.depth")
    assert described.read_only
    assert not any("qos_overrides" in line for line in console())


def test_an_override_of_several_cameras_is_for_one(bench: Bench, make_node: MakeNode) -> None:
    name = "qos_overrides./left/image.subscription.reliability"
    make_node(cameras=["front", "left"], **{name: "best_effort"})
    for camera in ("front", "left"):
        bench.node.create_publisher(Image, f"/{camera}/image", newest_only(RELIABLE))
    assert bench.transition("configure")
    assert bench.transition("activate")
    find = bench.node.get_subscriptions_info_by_topic
    for camera, reliability in (("front", RELIABLE), ("left", BEST_EFFORT)):
        topic = f"/{camera}/image"
        bench.wait(lambda t=topic: find(t))  # type: ignore[misc]
        assert find(topic)[0].qos_profile.reliability == reliability


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("/image.subscription.reliability", "besteffort", "is 'besteffort'; give reliable or"),
        ("/image.subscription.depth", 0, "is 0; give 1 to 10000"),
        ("/image.subscription.depth", "deep", "is 'deep'; give 1 to 10000"),
        ("/image.subscription.deepness", 3, "is for 'deepness'; give one of depth, durability"),
    ],
)
def test_impossible_overrides_fail_configure_with_one_line(
    bench: Bench, make_node: MakeNode, console: Console, name: str, value: object, words: str
) -> None:
    make_node(**{f"qos_overrides.{name}": value})
    assert not bench.transition("configure")
    (line,) = (line for line in console() if "configure failed" in line)
    assert line.startswith(f"configure failed: parameter qos_overrides.{name} {words}")


def test_overrides_that_fit_no_topic_are_named(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node(
        **{
            "qos_overrides./imag.subscription.depth": 3,
            "qos_overrides./e2ec/contours.subscription.depth": 3,
        }
    )
    assert bench.transition("configure")
    warned = [line for line in console() if "qos_overrides" in line]
    assert len(warned) == 2
    assert all("this node has no subscription there, but on /image, " in w for w in warned)


@pytest.mark.parametrize(
    ("policy", "value", "fix"),
    [
        ("reliability", "reliable", "set input.qos to auto, and no qos_overrides of it"),
        ("durability", "transient_local", "take the durability out of qos_overrides"),
    ],
)
def test_an_override_that_shuts_the_camera_out_is_reported_with_the_fix(
    bench: Bench, make_node: MakeNode, console: Console, policy: str, value: str, fix: str
) -> None:
    make_node(**{f"qos_overrides./image.subscription.{policy}": value})
    assert bench.transition("configure")
    assert bench.transition("activate")
    bench.node.create_publisher(Image, "/image", newest_only(BEST_EFFORT))
    bench.wait(lambda: any(fix in line for line in console()), 20)
    time.sleep(1.0)  # four more looks at the topic
    assert sum("qos" in line for line in console()) == 1
