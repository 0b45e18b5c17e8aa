"""Image messages to RGB arrays and back.

Common encodings are read with NumPy and OpenCV alone, without a copy where the layout allows. The
rest goes to `cv_bridge` where the ROS installation has a working one, else to `rosbags-image`.
Messages are taken by their fields, so those of `rclpy` and of `rosbags` both do.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]


@runtime_checkable
class RawImage(Protocol):
    """The fields of `sensor_msgs/Image` that are read, of `rclpy` or of `rosbags`."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class EncodedImage(Protocol):
    """The fields of `sensor_msgs/CompressedImage` that are read."""

    format: str
    data: Any


M = TypeVar("M", bound=RawImage)

# encoding: (channels, bytes per channel, OpenCV's conversion to RGB or None for RGB itself)
_PLAIN: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (3, 1, None),
    "bgr8": (3, 1, cv2.COLOR_BGR2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2RGB),  # OpenCV's own order, as cv_bridge takes it
    "rgba8": (4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, 1, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, 1, cv2.COLOR_BGRA2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (1, 2, cv2.COLOR_GRAY2RGB),
    "rgb16": (3, 2, None),
    "bgr16": (3, 2, cv2.COLOR_BGR2RGB),
}
# encoding: bytes per pixel of those left to the converters
_CONVERTED: dict[str, int] = {
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
    "bayer_grbg8": 1,
    "bayer_rggb16": 2,
    "bayer_bggr16": 2,
    "bayer_gbrg16": 2,
    "bayer_grbg16": 2,
    "yuv422": 2,
    "uyvy": 2,
    "yuv422_yuy2": 2,
    "yuyv": 2,
}
_NEWER_NAMES = {"uyvy": "yuv422", "yuyv": "yuv422_yuy2"}  # of one format; converters know these


def to_rgb(message: RawImage | EncodedImage) -> RgbImage:
    """Reads a `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.

    Args:
        message: the message. 16-bit images are scaled to 8 bits.

    Returns:
        uint8 [height, width, 3], RGB. For `rgb8` a view of the message's data, also when its rows
        are padded; a copy otherwise.

    Raises:
        ValueError: unknown encoding, zero size, rows or data too short, undecodable data. One
            line that names the received value.
    """
    if not isinstance(message, RawImage):
        return _decode(message)
    encoding = message.encoding
    if encoding in _PLAIN:
        channels, depth, code = _PLAIN[encoding]
        rows = _pixels(message, channels, depth)
        if depth == 2:
            rows = _to_8_bit(rows)
        return rows if code is None else np.asarray(cv2.cvtColor(rows, code), np.uint8)
    if encoding in _CONVERTED:
        _check_layout(message, _CONVERTED[encoding])
        return _convert(message)
    raise ValueError(
        f"image encoding {encoding!r} cannot be read as colour; "
        f"publish one of {', '.join([*_PLAIN, *_CONVERTED])}"
    )


def _check_layout(message: RawImage, pixel_bytes: int) -> None:
    """Raises ValueError unless size, step and data length of a raw image agree."""
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ValueError(f"image is {width}x{height} px; both must be at least 1")
    if step < width * pixel_bytes:
        raise ValueError(
            f"image step is {step} bytes, but {width} px of {message.encoding} "
            f"take {width * pixel_bytes}"
        )
    needed = (height - 1) * step + width * pixel_bytes  # the last row need not be padded
    if len(message.data) < needed:
        raise ValueError(
            f"image data is {len(message.data)} bytes long, but {width}x{height} px of "
            f"{message.encoding} with step {step} take {needed}"
        )


def _pixels(message: RawImage, channels: int, depth: int) -> NDArray[Any]:
    """The pixels as a view: uint8 or uint16, [height, width, channels], [height, width] for 1."""
    _check_layout(message, channels * depth)
    kind = "u1"
    if depth == 2:
        kind = ">u2" if message.is_bigendian else "<u2"
    shape: tuple[int, ...] = (message.height, message.width, channels)
    strides: tuple[int, ...] = (message.step, channels * depth, depth)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, kind, np.frombuffer(message.data, np.uint8), 0, strides)


def _to_8_bit(pixels: NDArray[np.uint16]) -> RgbImage:
    # 65535 / 255 = 257; rounding division keeps black black and white white.
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _decode(message: EncodedImage) -> RgbImage:
    """Decodes a compressed image (JPEG, PNG, whatever OpenCV reads)."""
    if "compressedDepth" in message.format:
        raise ValueError(f"compressed image of format {message.format!r} is depth, not colour")
    data = np.frombuffer(message.data, np.uint8)
    # An orientation tag must not turn the image: contours are in the pixels of the stream.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(data, flags) if data.size else None
    if pixels is None:
        raise ValueError(
            f"compressed image of format {message.format!r} with {data.size} bytes cannot be "
            "decoded; publish JPEG or PNG"
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _convert(message: RawImage) -> RgbImage:
    """Converts Bayer and YUV images with the converter at hand."""
    try:
        return np.asarray(_converter()(message), np.uint8)
    except Exception as error:  # the converters raise many types, some of them their own
        reason = " ".join(str(error).split())  # OpenCV's end with a line break
        raise ValueError(
            f"{message.width}x{message.height} px of {message.encoding!r} cannot be converted: "
            f"{reason}"
        ) from error


def _converter() -> Callable[[RawImage], NDArray[Any]]:
    """`cv_bridge` if it works here (it breaks with a NumPy it was not built for), else rosbags."""
    global _chosen
    if _chosen is None:
        _chosen = _working_cv_bridge() or _rosbags_image
    return _chosen


_chosen: Callable[[RawImage], NDArray[Any]] | None = None


def _working_cv_bridge() -> Callable[[RawImage], NDArray[Any]] | None:
    try:
        from cv_bridge import CvBridge
        from sensor_msgs.msg import Image

        probe = Image(height=2, width=2, step=2, encoding="bayer_rggb8", data=bytes(4))
        bridge = CvBridge()
        bridge.imgmsg_to_cv2(probe, "rgb8")
    except Exception:  # whatever it is, the other converter is used
        return None
    return lambda message: np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))


def _rosbags_image(message: RawImage) -> NDArray[Any]:
    from rosbags.image import message_to_cvimage

    image: Any = message  # of rclpy or of rosbags: it reads the fields
    return np.asarray(message_to_cvimage(image, "rgb8"))


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
    """The bytes of a contiguous array, as `uint8[]` fields take them without checking each."""
    buffer = array.array("B")
    buffer.frombytes(memoryview(values.data).cast("B"))
    return buffer


def encode_jpeg(image_rgb: RgbImage, quality: int) -> array.array[int]:
    """JPEG of an RGB image, uint8 [height, width, 3]; quality 1 to 100."""
    image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ValueError(f"OpenCV could not write a JPEG of shape {image_rgb.shape}")
    return to_bytes(data.reshape(-1))
