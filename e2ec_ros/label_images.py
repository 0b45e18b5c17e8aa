"""Contours as images of numbers: which instance, or which class, is seen at every pixel."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_core.contours import Contours
from e2ec_core.geometry import paint_contours
from e2ec_ros.images import to_bytes


def instance_image(contours: Contours, header: Header) -> Image:
    """A `mono16` image: 0 is background, i + 1 the instance at position i of the contours."""
    return _image(contours.label_image(), header)


def class_image(contours: Contours, header: Header, class_count: int) -> Image:
    """An image of class ids, `mono8` for up to 255 classes, else `mono16`.

    Where no instance is, it has the largest value of the type, which `vision_msgs/LabelInfo` calls
    UNLABELED: 255 or 65535. The better instance is in front.
    """
    kind = np.uint8 if class_count <= 255 else np.uint16
    pixels = np.full(contours.image_size, np.iinfo(kind).max, kind)
    paint_contours(pixels, list(contours.vertices), contours.class_ids.tolist())
    return _image(pixels, header)


def _image(pixels: NDArray[np.unsignedinteger], header: Header) -> Image:
    height, width = pixels.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=f"mono{8 * pixels.itemsize}",
        is_bigendian=int(sys.byteorder == "big"),
        step=width * pixels.itemsize,
        data=to_bytes(pixels),
    )
