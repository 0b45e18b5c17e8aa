"""Contours as Foxglove's annotations, against the definitions of the real package."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from ros_contours import BORDER, MODEL, SQUARE, contours

messages = pytest.importorskip("foxglove_msgs.msg", reason="foxglove_msgs is not installed")

from e2ec_ros.foxglove_messages import image_annotations  # noqa: E402

STAMP = Time(sec=3, nanosec=4)


def annotations(*polygons: list, labels: bool = True) -> object:
    """What a reader gets."""
    header = Header(stamp=STAMP, frame_id="camera")
    sent = image_annotations(
        contours(*polygons), header, MODEL, line_width=2, fill=0.25, labels=labels
    )
    return deserialize_message(serialize_message(sent), messages.ImageAnnotations)


def test_contours_are_closed_lines_counted_from_the_corner_of_the_first_pixel() -> None:
    (line,) = annotations(SQUARE).points
    assert line.type == messages.PointsAnnotation.LINE_LOOP
    assert line.timestamp == STAMP
    points = [[point.x, point.y] for point in line.points]
    np.testing.assert_array_equal(points, np.array(SQUARE) + 0.5)
    assert line.thickness == 2
    color = line.outline_color
    assert (color.r, color.g, color.b, color.a) == (1, 0, 0, 1)
    assert line.fill_color.a == 0.25


def test_text_says_class_and_score_above_the_contour_and_inside_the_image() -> None:
    message = annotations(BORDER, SQUARE)
    square, border = message.texts  # the best is last
    assert [text.text for text in message.texts] == ["person 0.50", "car 0.90"]
    assert (square.position.x, square.position.y) in {(20.5, 20.5), (10.5, 20.5)}
    assert border.position.y == border.font_size  # its contour begins at y = 3
    assert square.timestamp == STAMP
    assert not annotations(SQUARE, labels=False).texts


def test_a_stamp_of_the_whole_is_set_where_the_package_has_one() -> None:
    message = annotations()
    assert not message.points
    assert getattr(message, "timestamp", STAMP) == STAMP
