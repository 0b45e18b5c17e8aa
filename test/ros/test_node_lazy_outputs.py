"""Label images, detections and annotations of the running node, each only while it is heard."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_ros.contour_messages import boxes_of, label_image_of, vertices_of
from e2ec_ros.images import fill_image
from e2ec_ros.playback.sources import open_source
from e2ec_ros.qos import latched, newest_only
from ros_bench import Stream

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

STAMPS = itertools.count(100)
PACKAGES = ("vision_msgs", "foxglove_msgs")


def coffee() -> Image:
    """A photograph in which the weights that ship find a cup, with a stamp of its own."""
    header = Header(stamp=Time(sec=next(STAMPS), nanosec=7), frame_id="left/optical frame")
    return fill_image(Image(header=header), list(open_source("photographs").images())[2].rgb)


@pytest.fixture
def node(bench: Bench, make_node: MakeNode) -> SegmentationNode:
    """The node, active."""
    made = make_node(short_side=256, classes=["cup"])
    assert bench.transition("configure")
    assert bench.transition("activate")
    return made


def hear(bench: Bench, kind: type, topic: str) -> list:
    """Listens as most viewers do, and waits until the node knows."""
    qos = newest_only(QoSReliabilityPolicy.BEST_EFFORT)
    heard = bench.listen(kind, topic, qos)
    bench.wait(lambda: bench.node.count_publishers(topic) > 0)
    return heard


def wait_for_listener(bench: Bench, node: SegmentationNode, topic: str) -> None:
    """Waits until the node sees that somebody listens."""
    (publisher,) = (p for p in node.publishers if p.topic_name == topic)
    bench.wait(lambda: publisher.get_subscription_count() > 0)


def test_label_images_belong_to_the_contours_and_are_made_only_if_heard(
    bench: Bench, node: SegmentationNode
) -> None:
    stream = Stream(bench).ready()
    stream.ask(coffee())
    assert node.engine is not None
    lazy = node.engine.streams[0].outputs.lazy
    assert not lazy.built
    labels = hear(bench, Image, "/e2ec/labels/image")
    wait_for_listener(bench, node, "/e2ec/labels/image")
    answer = stream.ask(coffee())
    bench.wait(lambda: labels)
    assert answer.instances
    assert labels[0].header == answer.header
    assert (labels[0].encoding, labels[0].width, labels[0].height) == ("mono16", 600, 400)
    numbers = np.frombuffer(labels[0].data, "<u2").reshape(400, 600)
    np.testing.assert_array_equal(numbers, label_image_of(answer))
    assert numbers.max() == len(answer.instances)
    assert lazy.built == {"~/labels/image": 1}

    classes = hear(bench, Image, "/e2ec/classes/image")
    wait_for_listener(bench, node, "/e2ec/classes/image")
    answer = stream.ask(coffee())
    bench.wait(lambda: classes)
    assert (classes[0].encoding, classes[0].step) == ("mono8", 600)
    ids = np.frombuffer(classes[0].data, np.uint8).reshape(400, 600)
    expected = np.array([i.class_id for i in answer.instances] + [255])[numbers.astype(int) - 1]
    np.testing.assert_array_equal(ids, expected)
    assert lazy.built == {"~/labels/image": 2, "~/classes/image": 1}


def test_where_the_packages_are_missing_nothing_else_is(
    bench: Bench, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    for module in ("vision_messages", "foxglove_messages"):  # another test may have loaded them
        monkeypatch.delitem(sys.modules, f"e2ec_ros.{module}", raising=False)
    made = make_node(short_side=256)
    made.get_logger().set_level(10)
    for label in ("configure", "activate"):
        assert bench.transition(label)
    assert Stream(bench).ready().ask(coffee()).instances
    topics = {publisher.topic_name for publisher in made.publishers}
    assert "/e2ec/labels/image" in topics
    assert not topics & {"/e2ec/detections", "/e2ec/annotations", "/e2ec/label_info"}
    said = [line for line in console() if any(package in line for package in PACKAGES)]
    assert said == ["not published, as not installed: vision_msgs, foxglove_msgs"]


def test_detections_and_the_class_table_are_those_of_the_contours(
    bench: Bench, node: SegmentationNode
) -> None:
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    tables = bench.listen(messages.LabelInfo, "/e2ec/label_info", latched())  # long after
    bench.wait(lambda: tables)
    names = {entry.class_id: entry.class_name for entry in tables[0].class_map}
    assert tables[0].threshold == pytest.approx(node.declared.value.score_threshold)
    stream = Stream(bench).ready()
    stream.ask(coffee())
    assert node.engine is not None
    assert not node.engine.streams[0].outputs.lazy.built
    heard = bench.listen(messages.Detection2DArray, "/e2ec/detections")
    wait_for_listener(bench, node, "/e2ec/detections")
    answer = stream.ask(coffee())
    bench.wait(lambda: heard)
    assert heard[0].header == answer.header
    assert len(heard[0].detections) == len(answer.instances) > 0
    for detection, instance, box in zip(
        heard[0].detections, answer.instances, boxes_of(answer), strict=True
    ):
        hypothesis = detection.results[0].hypothesis
        assert hypothesis.class_id == instance.class_name == names[instance.class_id]
        assert hypothesis.score == pytest.approx(instance.score)
        centre = detection.bbox.center.position
        size = np.array([detection.bbox.size_x, detection.bbox.size_y])
        np.testing.assert_allclose([centre.x, centre.y] - size / 2, box[:2], atol=1e-3)
        np.testing.assert_allclose([centre.x, centre.y] + size / 2, box[2:], atol=1e-3)


def test_annotations_draw_the_contours_with_the_overlay_s_settings(
    bench: Bench, node: SegmentationNode
) -> None:
    messages = pytest.importorskip("foxglove_msgs.msg", reason="foxglove_msgs is not installed")
    stream = Stream(bench).ready()
    heard = bench.listen(messages.ImageAnnotations, "/e2ec/annotations")
    wait_for_listener(bench, node, "/e2ec/annotations")
    assert bench.set("overlay.line_width", 5) == ""
    answer = stream.ask(coffee())
    bench.wait(lambda: heard)
    lines = heard[0].points[::-1]
    assert len(lines) == len(heard[0].texts) == len(answer.instances) > 0
    for line, instance in zip(lines, answer.instances, strict=True):
        assert line.timestamp == answer.header.stamp
        assert line.thickness == 5
        points = [[point.x, point.y] for point in line.points]
        np.testing.assert_allclose(points, vertices_of(instance) + 0.5, atol=1e-4)
