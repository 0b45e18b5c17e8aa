"""Image messages to RGB: every encoding, padded rows, byte orders, and everything broken."""

from __future__ import annotations

import re
import struct
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from e2ec_ros.images import encode_jpeg, fill_image, to_rgb


def picture(height: int = 5, width: int = 7) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def message(
    pixels: NDArray[np.generic], encoding: str, padding: int = 0, *, big_endian: bool = False
) -> Image:
    """A message whose rows are `padding` bytes longer than they need be."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    padded = np.full((height, rows.shape[1] + padding), 0xAA, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=padded.tobytes(),
    )


def alpha(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 17, np.uint8)], axis=2)


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4"])
def test_color_encodings_give_the_same_pixels(encoding: str, padding: int) -> None:
    rgb = picture()
    flipped = rgb[..., ::-1]
    layouts = {
        "rgb8": rgb,
        "bgr8": flipped,
        "8UC3": flipped,
        "rgba8": alpha(rgb),
        "bgra8": alpha(flipped),
        "8UC4": alpha(flipped),
    }
    sent = message(np.ascontiguousarray(layouts[encoding]), encoding, padding)
    np.testing.assert_array_equal(to_rgb(sent), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_three_equal_channels(encoding: str) -> None:
    grey = picture()[..., 0].copy()
    np.testing.assert_array_equal(
        to_rgb(message(grey, encoding, padding=3)), np.stack([grey] * 3, axis=2)
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_images_keep_black_white_and_the_8_bit_steps(order: str) -> None:
    grey = picture()[..., 0].astype(np.uint16)
    grey[0, :2] = 0, 255
    wide = (grey * 257).astype(f"{order}u2")
    sent = message(wide, "mono16", padding=2, big_endian=order == ">")
    np.testing.assert_array_equal(to_rgb(sent)[..., 1], grey)
    rgb = picture()
    for encoding, pixels in (("rgb16", rgb), ("bgr16", rgb[..., ::-1])):
        wide = (pixels.astype(np.uint16) * 257).astype(f"{order}u2")
        np.testing.assert_array_equal(
            to_rgb(message(np.ascontiguousarray(wide), encoding, big_endian=order == ">")), rgb
        )


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_images_of_one_color_give_that_color(pattern: str) -> None:
    color = {"r": 200, "g": 120, "b": 40}
    tile = np.array([color[letter] for letter in pattern], np.uint8).reshape(2, 2)
    sent = message(np.tile(tile, (4, 5)), f"bayer_{pattern}8")
    got = to_rgb(sent)
    assert got.shape == (8, 10, 3)
    inner = got[2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_allclose(inner, np.tile([200, 120, 40], (len(inner), 1)), atol=2)


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv_images_of_one_color_give_that_color(encoding: str) -> None:
    y, u, v = 81, 90, 240  # pure red in the studio range of BT.601
    pair = (u, y, v, y) if encoding in ("uyvy", "yuv422") else (y, u, y, v)
    pixels = np.tile(np.array(pair, np.uint8).reshape(1, 2, 2), (4, 3, 1))
    got = to_rgb(message(pixels, encoding))
    np.testing.assert_allclose(got.reshape(-1, 3), np.tile([255, 0, 0], (24, 1)), atol=4)


def test_rgb8_is_a_view_of_the_message_also_with_padded_rows() -> None:
    sent = message(picture(), "rgb8", padding=5)
    assert np.shares_memory(to_rgb(sent), np.frombuffer(sent.data, np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "0x5 px"),
        ({"height": 0}, "7x0 px"),
        ({"step": 20}, "step is 20 bytes, but 7 px of rgb8 take 21"),
        ({"data": b"\0" * 104}, "104 bytes long, but 7x5 px of rgb8 with step 21 take 105"),
        ({"data": b""}, "0 bytes long"),
        ({"height": 2**31}, "take 4"),
        ({"encoding": "32FC1"}, "'32FC1' cannot be read as colour"),
        ({"encoding": ""}, "''"),
        ({"encoding": "bayer_rggb8", "data": b"\0"}, "1 bytes long"),
        ({"encoding": "rgb16"}, "step is 21 bytes, but 7 px of rgb16 take 42"),
    ],
)
def test_broken_images_give_one_line_with_the_value(
    changes: dict[str, object], words: str
) -> None:
    sent = message(picture(), "rgb8")
    for name, value in changes.items():
        setattr(sent, name, value)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        to_rgb(sent)
    assert "\n" not in str(caught.value)


def test_the_last_row_need_not_be_padded() -> None:
    rgb = picture()
    sent = message(rgb, "rgb8", padding=4)
    sent.data = sent.data[:-4]
    np.testing.assert_array_equal(to_rgb(sent), rgb)


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(0, 6),
    width=st.integers(0, 6),
    step=st.integers(0, 40),
    size=st.integers(0, 200),
    encoding=st.sampled_from(["rgb8", "bgra8", "mono16", "bayer_gbrg8", "uyvy", "nv21", "16UC1"]),
)
def test_any_layout_is_read_or_refused_in_one_line(
    height: int, width: int, step: int, size: int, encoding: str
) -> None:
    sent = Image(height=height, width=width, step=step, encoding=encoding, data=bytes(size))
    refusal = ""
    try:
        rgb = to_rgb(sent)
    except ValueError as error:
        refusal = str(error)
    else:
        assert rgb.shape == (height, width, 3)
        assert rgb.dtype == np.uint8
    assert "\n" not in refusal


def test_compressed_images_are_decoded() -> None:
    rgb = cv2.GaussianBlur(picture(48, 64), (0, 0), 5)
    png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(to_rgb(CompressedImage(format="png", data=png)), rgb)
    jpeg = CompressedImage(format="rgb8; jpeg compressed bgr8", data=encode_jpeg(rgb, 95))
    assert np.abs(to_rgb(jpeg).astype(int) - rgb).mean() < 3


def test_an_orientation_tag_does_not_turn_a_compressed_image() -> None:
    rgb = cv2.GaussianBlur(picture(48, 64), (0, 0), 5)
    plain = bytes(encode_jpeg(rgb, 95))
    # A minimal Exif segment with orientation 6, "rotate by 90 degrees".
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    body = b"Exif\0\0" + tiff
    tagged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (64, 48)
    assert to_rgb(CompressedImage(format="jpeg", data=tagged)).shape == (48, 64, 3)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 torn"])
def test_undecodable_data_gives_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(data)} bytes cannot be decoded"):
        to_rgb(CompressedImage(format="jpeg", data=data))


def test_compressed_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="is depth"):
        to_rgb(CompressedImage(format="16UC1; compressedDepth png", data=b"x"))


def test_an_array_becomes_a_message_and_comes_back() -> None:
    rgb = picture()
    header = Header(frame_id="camera")
    sent = fill_image(Image(header=header), rgb[:, ::-1])  # not contiguous
    assert (sent.header, sent.width, sent.height, sent.step) == (header, 7, 5, 21)
    np.testing.assert_array_equal(to_rgb(sent), rgb[:, ::-1])


def test_a_machine_of_this_byte_order_reads_its_own_16_bit_images() -> None:
    native = np.full((2, 3), 257 * 9, np.uint16)
    sent = message(native, "mono16", big_endian=sys.byteorder == "big")
    assert (to_rgb(sent) == 9).all()
