"""Images of instance numbers and class ids, without a node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_ros.label_images import class_image, instance_image
from ros_contours import BORDER, SQUARE, contours

HEADER = Header(frame_id="camera")


def pixels(message: Image) -> np.ndarray:
    """The numbers that a reader of the message gets."""
    read = deserialize_message(serialize_message(message), Image)
    kind = {"mono8": "u1", "mono16": ">u2" if read.is_bigendian else "<u2"}[read.encoding]
    assert len(read.data) == read.height * read.step
    assert read.step == read.width * np.dtype(kind).itemsize
    return np.frombuffer(read.data, kind).reshape(read.height, read.width)


def test_the_instance_image_holds_the_label_image() -> None:
    found = contours(SQUARE, BORDER)
    message = instance_image(found, HEADER)
    assert message.encoding == "mono16"
    assert message.header == HEADER
    np.testing.assert_array_equal(pixels(message), found.label_image())
    assert not pixels(instance_image(contours(), HEADER)).any()


def test_the_class_image_holds_class_ids_and_the_largest_value_elsewhere() -> None:
    found = contours(SQUARE, BORDER)  # classes 0 and 1
    first, second = found.masks()
    ids = pixels(class_image(found, HEADER, 80))
    assert ids.dtype == np.uint8
    assert (ids[first] == 0).all()
    assert (ids[second] == 1).all()
    assert (ids[~(first | second)] == 255).all()
    assert (pixels(class_image(contours(), HEADER, 255)) == 255).all()


def test_many_classes_need_sixteen_bits() -> None:
    many = replace(contours(SQUARE), class_ids=np.array([1200]))
    ids = pixels(class_image(many, HEADER, 1203))
    assert set(np.unique(ids)) == {1200, 65535}


def test_the_better_instance_is_in_front_in_the_class_image() -> None:
    over = (np.array(SQUARE) + [5, 5]).tolist()
    found = replace(contours(SQUARE, over), class_ids=np.array([7, 3]))
    ids, masks = pixels(class_image(found, HEADER, 80)), found.masks()
    assert (ids[masks[0]] == 7).all()
    assert (ids[masks[1] & ~masks[0]] == 3).all()
