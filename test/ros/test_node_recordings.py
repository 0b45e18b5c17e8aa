"""A bag that e2ec predict writes holds what the live node publishes, in every bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from ros_bags import raw, write_messages
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from e2ec_core.commands.__main__ import main
from e2ec_ros.msg import InstanceContourArray
from ros_bench import Stream

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

SIDES = {"short_side": 192, "long_side": 0}


def pictures() -> list[Any]:
    """Photographs of odd sizes, and one in which nothing is found, uint8 [H, W, 3]."""
    data = pytest.importorskip("skimage.data")
    person, cup = data.astronaut(), data.coffee()
    cat = np.roll(data.chelsea(), 200, axis=1)  # at both edges
    return [person[3:400], cup[:, 100:501], cat, np.full((65, 97, 3), 90, np.uint8)]


def bits(message: InstanceContourArray) -> list[Any]:
    """Everything but the timing; floats as their bytes. CDR itself has padding of any value."""
    head = (message.width, message.height, message.stage, message.model)
    values: list[Any] = [str(message.header), *head]
    for one in message.instances:
        values += [one.class_id, one.class_name, one.track_id, one.instance_id, one.amodal]
        values += [one.truncated, np.array([one.score, one.area, one.hidden]).tobytes()]
        values += [one.box.tobytes(), one.contour.tobytes(), one.amodal_contour.tobytes()]
    return values


def ros_image(message: Any) -> Image:
    image = Image(height=message.height, width=message.width, step=message.step)
    image.encoding, image.data = message.encoding, message.data.tobytes()
    image.header.frame_id = message.header.frame_id
    stamp = message.header.stamp
    image.header.stamp.sec, image.header.stamp.nanosec = stamp.sec, stamp.nanosec
    return image


@pytest.mark.parametrize("amodal", [False, True])
def test_node_and_bag_are_equal_in_every_bit(
    bench: Bench,
    make_node: Callable[..., SegmentationNode],
    tmp_path: Path,
    amodal: bool,
) -> None:
    sent = [raw(cv2.convertScaleAbs(p), 3.25 + i, "left") for i, p in enumerate(pictures())]
    timed = [("/image", 10.0 + i, message) for i, message in enumerate(sent)]
    bag = write_messages(tmp_path / "drive", timed)
    words = ["--write", "bag", "--device", "cpu", "--amodal", str(amodal).lower()]
    words += ["--short-side", "192", "--long-side", "0", "--output", str(tmp_path / "out")]
    assert main(["predict", str(bag), *words]) == 0

    make_node(**SIDES, device="cpu", amodal=amodal)
    assert bench.transition("configure")
    assert bench.transition("activate")
    stream = Stream(bench).ready()
    live = [stream.ask(ros_image(message)) for message in sent]
    (publisher,) = bench.node.get_publishers_info_by_topic("/e2ec/contours")

    with AnyReader([tmp_path / "out/drive_contours"]) as reader:
        (topic,) = [c for c in reader.connections if c.topic == "/e2ec/contours"]
        held = list(reader.messages(connections=[topic]))
    assert topic.msgtype == publisher.topic_type == "e2ec_ros/msg/InstanceContourArray"
    if hasattr(publisher, "topic_type_hash"):  # not in Humble
        assert topic.digest == str(publisher.topic_type_hash)
    assert [time for _, time, _ in held] == [10_000_000_000 + i * 10**9 for i in range(4)]
    stored = [deserialize_message(data, InstanceContourArray) for _, _, data in held]
    assert [len(message.instances) > 0 for message in live] == [True, True, True, False]
    assert any(i.amodal_contour for message in live for i in message.instances) == amodal
    assert [bits(m) for m in stored] == [bits(m) for m in live]
