"""Contours as vision_msgs, against the definitions of the real package."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from ros_contours import BORDER, MODEL, SQUARE, contours

messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")

from e2ec_ros.vision_messages import detection_array, label_info  # noqa: E402

HEADER = Header(stamp=Time(sec=3, nanosec=4), frame_id="camera")


def test_a_detection_has_box_name_and_score() -> None:
    sent = detection_array(contours(SQUARE, BORDER), HEADER, MODEL)
    message = deserialize_message(serialize_message(sent), messages.Detection2DArray)
    assert message.header == HEADER
    square, border = message.detections
    assert square.header == HEADER
    centre = square.bbox.center
    assert (centre.position.x, centre.position.y, centre.theta) == (15, 30, 0)
    assert (square.bbox.size_x, square.bbox.size_y) == (10, 20)
    (result,) = square.results
    assert result.hypothesis.class_id == "car"
    assert result.hypothesis.score == pytest.approx(0.9)
    assert square.id == ""
    assert border.results[0].hypothesis.class_id == "person"
    assert detection_array(contours(), HEADER, MODEL).detections == []


def test_a_detection_has_the_track_of_its_object() -> None:
    tracked = replace(contours(SQUARE, BORDER), track_ids=np.array([12, 3]))
    found = detection_array(tracked, HEADER, MODEL).detections
    assert [detection.id for detection in found] == ["12", "3"]


def test_an_object_of_several_contours_is_one_detection() -> None:
    parts = replace(contours(SQUARE, BORDER, SQUARE), instance_ids=np.array([4, 9, 9]))
    first, second = detection_array(parts, HEADER, MODEL).detections
    assert (first.bbox.size_x, first.bbox.size_y) == (10, 20)
    assert (second.bbox.center.position.x, second.bbox.center.position.y) == (8.5, 21.5)
    assert (second.bbox.size_x, second.bbox.size_y) == (23, 37)


def test_the_class_table_names_every_id() -> None:
    table = label_info(HEADER, MODEL, 0.25)
    assert [(entry.class_id, entry.class_name) for entry in table.class_map] == [
        (0, "car"),
        (1, "person"),
    ]
    assert table.threshold == 0.25
