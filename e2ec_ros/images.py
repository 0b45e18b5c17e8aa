"""RGB arrays to image messages; `e2ec_core.image_messages` reads them."""

from __future__ import annotations

import array
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_messages import RawImage, RgbImage

M = TypeVar("M", bound=RawImage)


def fill_image(message: M, image_rgb: RgbImage) -> M:
    """Writes an RGB array into a `sensor_msgs/Image`; the header stays as it is.

    Args:
        message: the message to fill.
        image_rgb: uint8 [height, width, 3].

    Returns:
        the message.
    """
    height, width = image_rgb.shape[:2]
    message.height, message.width, message.step = height, width, width * 3
    message.encoding, message.is_bigendian = "rgb8", 0
    message.data = to_bytes(np.ascontiguousarray(image_rgb))
    return message


def to_bytes(values: NDArray[np.uint8]) -> array.array[int]:
    """Copies a contiguous array as `uint8[]` fields take it without checking each value."""
    buffer = array.array("B")
    buffer.frombytes(memoryview(values.data).cast("B"))
    return buffer


def encode_jpeg(image_rgb: RgbImage, quality: int) -> array.array[int]:
    """Encodes an RGB image, uint8 [height, width, 3], as JPEG of quality 1 to 100."""
    image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ValueError(f"OpenCV could not write a JPEG of shape {image_rgb.shape}")
    return to_bytes(data.reshape(-1))
