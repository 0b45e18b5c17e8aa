"""Image messages (`sensor_msgs/Image`, `CompressedImage`) to RGB arrays.

Everything is read with NumPy and OpenCV alone, raw images without a copy where the layout allows.
Messages are taken by their fields, so those of `rclpy` and of `rosbags` both do.
"""

from __future__ import annotations

import difflib
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_files import decode_stored, to_8_bit
from e2ec_core.value_range import FULL, ValueRange

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


_BAYER = {  # the colours of the first two pixels of the first two rows
    "bayer_rggb": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg": cv2.COLOR_BayerGRBG2RGB,
}
# encoding: (channels, bytes per channel, OpenCV's conversion to RGB or None for RGB itself)
_PACKED: dict[str, tuple[int, int, int | None]] = {
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
    "16UC3": (3, 2, cv2.COLOR_BGR2RGB),
    "rgba16": (4, 2, cv2.COLOR_RGBA2RGB),
    "bgra16": (4, 2, cv2.COLOR_BGRA2RGB),
    "16UC4": (4, 2, cv2.COLOR_BGRA2RGB),
    "uyvy": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (2, 1, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": (2, 1, cv2.COLOR_YUV2RGB_YUY2),
    **{f"{pattern}8": (1, 1, code) for pattern, code in _BAYER.items()},
    **{f"{pattern}16": (1, 2, code) for pattern, code in _BAYER.items()},
}
# A plane of brightness, below it one of colour at half the resolution, its two values in turn.
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
_DEPTH = ("16UC1", "32FC1", "64FC1", "16SC1", "32SC1")  # encodings that hold distances


def to_rgb(message: RawImage | EncodedImage, values: ValueRange = FULL) -> RgbImage:
    """Reads a `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.

    Args:
        message: the message.
        values: of 16-bit images, which of their values become black and white. 16UC1 holds depth
            or temperatures and is read unless this is the full range.

    Returns:
        uint8 [height, width, 3], RGB. For `rgb8` a view of the message's data, also when its rows
        are padded; a copy otherwise.

    Raises:
        ValueError: unknown encoding, zero size, rows or data too short, undecodable data. One
            line that names the received value.
    """
    try:
        if not isinstance(message, RawImage):
            return _decode(message, values)
        if message.encoding in _TWO_PLANES:
            return _join_planes(message)
        return _unpack(message, values)
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
        raise ValueError(f"image of {len(message.data)} bytes cannot be read: {reason}") from error


def is_depth(message: RawImage | EncodedImage, values: ValueRange = FULL) -> bool:
    """Whether a message holds distances; 16UC1 does unless a range makes it a picture."""
    if isinstance(message, RawImage):
        encoding = message.encoding
    else:
        encoding = message.format.partition(";")[0].strip()
        if "compressedDepth" in message.format:
            return True
    return encoding in _DEPTH and (encoding != "16UC1" or values.full)


def _unpack(message: RawImage, values: ValueRange) -> RgbImage:
    """Reads an image whose pixels lie one behind the other."""
    encoding = message.encoding
    _check_encoding(encoding, values)
    channels, depth, code = _PACKED["mono16" if encoding == "16UC1" else encoding]
    width = message.width
    if channels == 2 and width % 2:  # two pixels share their colour; the last has half a pair
        _check_layout(message, message.width + 1, 2)
        width += 1
    pixels = _pixels(message, width, channels, depth)
    if depth == 2:
        pixels = values.to_8_bit(pixels)
    if code is None:
        return pixels
    if encoding.startswith("bayer"):
        return _demosaic(pixels, code)
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)[:, : message.width]


def _check_encoding(encoding: str, values: ValueRange) -> None:
    if encoding in _PACKED or (encoding == "16UC1" and not values.full):
        return
    if encoding == "16UC1":
        raise ValueError(
            "image encoding '16UC1' is depth; if it is a thermal or grey picture, set the range "
            "of its values, e.g. auto or 0..16383"
        )
    depth = " (it is depth)" if encoding in _DEPTH else ""
    known = [*_PACKED, *_TWO_PLANES]
    near = [] if depth else difflib.get_close_matches(encoding.lower(), map(str.lower, known), 1)
    meant = next((repr(name) for name in known if near and name.lower() == near[0]), None)
    raise ValueError(
        f"image encoding {encoding!r} cannot be read as colour{depth}; "
        f"publish {meant or 'one of ' + ', '.join(known)}"
    )


def _check_layout(message: RawImage, width: int, pixel_bytes: int, rows: int = 0) -> None:
    """Raises ValueError unless size, step and data length of a raw image agree."""
    height, step = message.height, message.step
    rows = rows or height
    if height == 0 or message.width == 0:
        raise ValueError(f"image is {message.width}x{height} px; both must be at least 1")
    if step < width * pixel_bytes:
        raise ValueError(
            f"image step is {step} bytes, but {message.width} px of {message.encoding} "
            f"take {width * pixel_bytes}"
        )
    needed = (rows - 1) * step + width * pixel_bytes  # the last row need not be padded
    if len(message.data) < needed:
        raise ValueError(
            f"image data is {len(message.data)} bytes long, but {message.width}x{height} px of "
            f"{message.encoding} with step {step} take {needed}"
        )


def _pixels(message: RawImage, width: int, channels: int, depth: int) -> NDArray[Any]:
    """Views the pixels: uint8 or uint16, [height, width, channels], [height, width] for 1."""
    _check_layout(message, width, channels * depth)
    kind = "u1"
    if depth == 2:
        kind = ">u2" if message.is_bigendian else "<u2"
    shape: tuple[int, ...] = (message.height, width, channels)
    strides: tuple[int, ...] = (message.step, channels * depth, depth)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, kind, np.frombuffer(message.data, np.uint8), 0, strides)


def _demosaic(mosaic: NDArray[np.uint8], code: int) -> RgbImage:
    if min(mosaic.shape[:2]) < 3:
        height, width = mosaic.shape[:2]
        raise ValueError(f"Bayer image is {width}x{height} px; at least 3x3 can be read")
    return np.asarray(cv2.cvtColor(mosaic, code), np.uint8)


def _join_planes(message: RawImage) -> RgbImage:
    """Reads nv12 and nv21: rows of brightness, then half as many rows of colour, all of `step`."""
    height, width = message.height, message.width
    rows, columns = height + height % 2, width + width % 2
    _check_layout(message, columns, 1, rows=height + rows // 2)
    data = np.frombuffer(message.data, np.uint8)
    y = np.ndarray((height, width), np.uint8, data, 0, (message.step, 1))
    y = np.pad(y, ((0, rows - height), (0, columns - width)), "edge")  # OpenCV wants even sizes
    shape, strides = (rows // 2, columns // 2, 2), (message.step, 2, 1)
    uv = np.ndarray(shape, np.uint8, data, height * message.step, strides)
    rgb = cv2.cvtColorTwoPlane(y, uv, _TWO_PLANES[message.encoding])
    return np.asarray(rgb, np.uint8)[:height, :width]


def _decode(message: EncodedImage, values: ValueRange) -> RgbImage:
    """Decodes a compressed image: JPEG, PNG, whatever OpenCV reads.

    The format is `CODEC` or `ENCODING; CODEC compressed ...`, as image_transport writes it. The
    file itself tells its codec and its colours; the encoding tells Bayer patterns and depth.
    """
    encoding = message.format.partition(";")[0].strip()
    if is_depth(message, values):
        if encoding == "16UC1" and "compressedDepth" not in message.format:
            _check_encoding(encoding, values)
        raise ValueError(f"compressed image of format {message.format!r} is depth, not colour")
    try:
        # An orientation tag must not turn the image: contours are in the pixels of the stream.
        pixels = to_8_bit(decode_stored(message.data), values)
        if pixels.ndim == 3:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
        pattern = encoding.lower().rstrip("0123456789")
        if pattern in _BAYER:
            return _demosaic(pixels, _BAYER[pattern])
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    except ValueError as error:
        raise ValueError(
            f"compressed image of format {message.format!r} with {len(message.data)} bytes {error}"
        ) from error
