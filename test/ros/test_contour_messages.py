"""Arrays from received contours equal those of the contours that were sent."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from e2ec_core.contours import Contours, clip_to_image
from e2ec_ros.contour_messages import (
    boxes_of,
    groups_of,
    label_image_of,
    masks_of,
    vertices_of,
)
from e2ec_ros.messages import contour_array
from e2ec_ros.msg import InstanceContour, InstanceContourArray
from ros_contours import BORDER, MODEL, SQUARE, TIMING, contours

OVERLAP = [[15.25, 45], [25, 45], [25, 30.5], [15.25, 30.5]]


def received(sent: Contours) -> InstanceContourArray:
    """The message as somebody else gets it."""
    message = contour_array(sent, MODEL, TIMING, Header(frame_id="camera"))
    return deserialize_message(serialize_message(message), InstanceContourArray)


def test_a_reader_gets_the_arrays_of_the_sender() -> None:
    sent = clip_to_image(contours(SQUARE, OVERLAP, BORDER))
    message = received(sent)
    for instance, vertices in zip(message.instances, sent.vertices, strict=True):
        np.testing.assert_array_equal(vertices_of(instance), vertices)
    np.testing.assert_array_equal(boxes_of(message), sent.boxes_xyxy)
    np.testing.assert_array_equal(masks_of(message), sent.masks())
    np.testing.assert_array_equal(label_image_of(message), sent.label_image())
    assert label_image_of(message).dtype == np.uint16
    assert set(np.unique(label_image_of(message))) == {0, 1, 2, 3}
    assert groups_of(message) == [[0], [1], [2]]


def test_parts_of_one_object_have_one_label() -> None:
    parts = replace(contours(SQUARE, OVERLAP, BORDER), instance_ids=np.array([4, 9, 4]))
    message = received(parts)
    assert groups_of(message) == [[0, 2], [1]]
    labels = label_image_of(message)
    np.testing.assert_array_equal(labels, parts.label_image())
    assert (labels[masks_of(message)[[0, 2]].any(axis=0)] == 1).all()


def test_nothing_found_gives_empty_arrays() -> None:
    message = received(contours())
    assert boxes_of(message).shape == (0, 4)
    assert masks_of(message).shape == (0, 50, 60)
    assert label_image_of(message).shape == (50, 60)
    assert not label_image_of(message).any()


def test_contours_of_other_senders_may_differ_in_their_number_of_vertices() -> None:
    triangle = InstanceContour(contour=[1.0, 8.0, 9.0, 8.0, 1.0, 0.0], instance_id=1)
    square = InstanceContour(contour=[1.5, 8.5, 9.5, 8.5, 9.5, 0.5, 1.5, 0.5])
    message = InstanceContourArray(width=12, height=10, instances=[square, triangle])
    assert masks_of(message).shape == (2, 10, 12)
    assert masks_of(message)[0].sum() == 64


def test_reading_needs_neither_torch_nor_opencv_nor_a_running_ros() -> None:
    code = (
        "import sys\n"
        "blocked = ('torch', 'cv2', 'rclpy', 'e2ec_core.model', 'e2ec_core.inference')\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        "from e2ec_ros.contour_messages import *\n"
        "from e2ec_ros.msg import InstanceContour, InstanceContourArray\n"
        "square = [1.5, 8.5, 9.5, 8.5, 9.5, 0.5, 1.5, 0.5]\n"
        "one = InstanceContour(contour=square)\n"
        "message = InstanceContourArray(width=12, height=10, instances=[one])\n"
        "print(label_image_of(message).sum(), masks_of(message).sum(), boxes_of(message).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "64 64 (1, 4)", done.stderr
