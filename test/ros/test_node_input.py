"""The image subscription: whom it hears, and what the node says when it hears nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from e2ec_ros.image_input import ImageInput
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.qos import newest_only

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

BEST_EFFORT, RELIABLE = QoSReliabilityPolicy.BEST_EFFORT, QoSReliabilityPolicy.RELIABLE


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def black(height: int, width: int) -> Image:
    return fill_image(Image(), np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("qos", ["auto", "reliable", "sensor_data"])
def test_the_subscription_follows_the_parameter(
    bench: Bench, make_node: MakeNode, qos: str
) -> None:
    make_node(input__qos=qos)
    activate(bench)
    offered = BEST_EFFORT if qos == "auto" else RELIABLE
    bench.node.create_publisher(Image, "/image", newest_only(offered))
    found = bench.node.get_subscriptions_info_by_topic
    bench.wait(lambda: found("/image"))
    expected = {
        "auto": BEST_EFFORT,
        "reliable": RELIABLE,
        "sensor_data": BEST_EFFORT,
    }
    assert found("/image")[0].qos_profile.reliability == expected[qos]


@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT])
@pytest.mark.parametrize("publisher_first", [True, False])
def test_images_arrive_whatever_the_publisher_offers_and_whoever_starts_first(
    bench: Bench,
    make_node: MakeNode,
    reliability: QoSReliabilityPolicy,
    publisher_first: bool,
) -> None:
    qos = QoSProfile(depth=1, reliability=reliability)
    big = black(720, 1280)  # 2.8 MB, beyond Fast DDS's default segment
    if publisher_first:
        publisher = bench.node.create_publisher(Image, "/image", qos)
    make_node()
    activate(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    if not publisher_first:
        publisher = bench.node.create_publisher(Image, "/image", qos)
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    bench.wait(lambda: bench.node.count_publishers("/e2ec/contours") > 0)
    for count in range(1, 4):
        publisher.publish(big)
        bench.wait(lambda count=count: len(answers) >= count, 20)


def test_an_incompatible_publisher_is_reported_with_the_fix(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node(input__qos="reliable")
    activate(bench)
    qos = QoSProfile(depth=1, reliability=BEST_EFFORT)
    bench.node.create_publisher(Image, "/image", qos)
    words = "set input.qos to auto"
    bench.wait(lambda: any(words in line for line in console()), 20)


def test_silence_is_reported_once(
    bench: Bench, active_node: SegmentationNode, console: Console
) -> None:
    bench.wait(lambda: any("nobody publishes there" in line for line in console()), 20)
    time.sleep(1.0)  # four more looks at the topic
    assert sum("no image on /image" in line for line in console()) == 1


def test_a_reliable_and_a_best_effort_publisher_are_both_heard(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node()
    activate(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    bench.wait(lambda: bench.node.count_publishers("/e2ec/contours") > 0)
    subscriptions = bench.node.get_subscriptions_info_by_topic

    def publish(publisher: object, name: str) -> None:
        message = black(48, 64)
        message.header.frame_id = name

        def heard() -> bool:
            publisher.publish(message)  # type: ignore[attr-defined]
            time.sleep(0.05)
            return any(answer.header.frame_id == name for answer in answers)

        bench.wait(heard)

    reliable = bench.node.create_publisher(Image, "/image", newest_only(RELIABLE))
    publish(reliable, "alone")
    assert subscriptions("/image")[0].qos_profile.reliability == RELIABLE
    best_effort = bench.node.create_publisher(Image, "/image", newest_only(BEST_EFFORT))
    publish(best_effort, "second")  # while the first one goes on
    publish(reliable, "first")
    bench.node.destroy_publisher(best_effort)
    bench.wait(lambda: [s.qos_profile.reliability for s in subscriptions("/image")] == [RELIABLE])
    publish(reliable, "alone again")
    assert not any("input.qos" in line for line in console())


@pytest.mark.parametrize(
    ("transport", "qos", "kind", "topic", "words"),
    [
        (
            "raw",
            "reliable",
            CompressedImage,
            "/image",
            "no image on /image for 5 s: it carries sensor_msgs/msg/CompressedImage, and this "
            "node reads sensor_msgs/msg/Image; set image_transport to compressed and remap "
            "`/image/compressed` to /image",
        ),
        (
            "raw",
            "auto",
            CompressedImage,
            "/image/compressed",
            "no image on /image for 5 s: nobody publishes sensor_msgs/msg/Image there, but "
            "/image/compressed carries sensor_msgs/msg/CompressedImage; "
            "set image_transport to compressed",
        ),
        (
            "compressed",
            "auto",
            Image,
            "/image",
            "no image on /image/compressed for 5 s: nobody publishes "
            "sensor_msgs/msg/CompressedImage there, but /image carries sensor_msgs/msg/Image; "
            "set image_transport to raw",
        ),
        (
            "compressed",
            "reliable",
            Image,
            "/image/compressed",
            "no image on /image/compressed for 5 s: it carries sensor_msgs/msg/Image, and this "
            "node reads sensor_msgs/msg/CompressedImage; set image_transport to raw and remap "
            "`image` to /image/compressed",
        ),
    ],
)
def test_another_type_on_the_topic_is_named_with_the_setting(
    bench: Bench,
    make_node: MakeNode,
    console: Console,
    transport: str,
    qos: str,
    kind: type,
    topic: str,
    words: str,
) -> None:
    # In one process DDS refuses the subscription, and the node must live on.
    bench.node.create_publisher(kind, topic, 1)
    make_node(image_transport=transport, input__qos=qos)
    activate(bench)
    bench.wait(lambda: any("no image on" in line for line in console()), 20)
    assert [line for line in console() if "no image on" in line] == [words]
    assert bench.transition("deactivate")  # the executor still answers


def test_a_busy_node_does_not_complain_of_silence(
    bench: Bench, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ec_ros.image_input.SILENCE_BEFORE_WARNING", 0.6)
    bench.node.create_publisher(Image, "/image", 1)
    busy = True
    image_input = ImageInput(
        bench.node,
        "",
        lambda frame: None,
        lambda: True,
        lambda: busy,
        NodeParameters(),
    )
    time.sleep(2.0)
    assert not any("no image" in line for line in console())
    busy = False
    bench.wait(lambda: any("large ones get lost" in line for line in console()), 10)
    image_input.destroy()
