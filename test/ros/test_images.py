"""Image messages to RGB: every encoding, padded rows, byte orders, and everything broken."""

from __future__ import annotations

import re
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from e2ec_core.image_messages import to_rgb
from e2ec_core.value_range import parse_range
from e2ec_ros.images import encode_jpeg, fill_image


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
@pytest.mark.parametrize("encoding", ["rgba16", "bgra16", "16UC4", "16UC3"])
def test_wide_colors_lose_alpha_and_keep_their_order(encoding: str, order: str) -> None:
    rgb = picture()
    stored = rgb if encoding == "rgba16" else rgb[..., ::-1]
    stored = alpha(stored) if encoding != "16UC3" else stored
    wide = np.ascontiguousarray((stored.astype(np.uint16) * 257).astype(f"{order}u2"))
    sent = message(wide, encoding, padding=6, big_endian=order == ">")
    np.testing.assert_array_equal(to_rgb(sent), rgb)


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


def mosaic(rgb: NDArray[np.uint8], pattern: str) -> NDArray[np.uint8]:
    """What a sensor with this pattern of colours sees of an image of even size."""
    channels = np.array(["rgb".index(letter) for letter in pattern]).reshape(2, 2)
    rows, columns = np.indices(rgb.shape[:2])
    return rgb[rows, columns, channels[rows % 2, columns % 2]]


def gradient(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Smooth colours, which survive mosaics, halved colour and JPEG nearly unchanged."""
    y, x = np.indices((height, width))
    return np.stack([40 + 5 * x, 60 + 4 * y, 230 - 3 * x - 2 * y], axis=2).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 2, 13, 64])
@pytest.mark.parametrize("kind", ["8", "16", "16 big-endian"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_images_give_the_colors_back(pattern: str, kind: str, padding: int) -> None:
    seen: NDArray[np.generic] = mosaic(gradient(), pattern)
    if kind != "8":
        seen = (seen.astype(np.uint16) * 257).astype(">u2" if "big" in kind else "<u2")
    encoding = f"bayer_{pattern}{kind.split()[0]}"
    got = to_rgb(message(seen, encoding, padding, big_endian="big" in kind))
    assert got.shape == (24, 32, 3)
    inner = slice(2, -2)
    np.testing.assert_allclose(got[inner, inner], gradient()[inner, inner].astype(int), atol=3)


@pytest.mark.parametrize("size", [(2, 2), (1, 8), (8, 1)])
def test_bayer_images_too_small_for_a_neighbourhood_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[1]}x{size[0]} px; at least 3x3"):
        to_rgb(message(np.zeros(size, np.uint8), "bayer_rggb8"))


def to_yuv(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 in the studio range, as cameras send it."""
    matrix = [[65.738, 129.057, 25.064], [-37.945, -74.494, 112.439], [112.439, -94.154, -18.285]]
    return rgb @ np.array(matrix).T / 256 + [16, 128, 128]


@pytest.mark.parametrize("padding", [0, 2, 13, 64])
@pytest.mark.parametrize("width", [32, 31])
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv_images_give_the_colors_back(encoding: str, width: int, padding: int) -> None:
    yuv = to_yuv(gradient()).round().astype(np.uint8)
    pairs = np.empty((24, 32, 2), np.uint8)
    luma = 1 if encoding in ("uyvy", "yuv422") else 0
    pairs[..., luma] = yuv[..., 0]
    pairs[:, 0::2, 1 - luma], pairs[:, 1::2, 1 - luma] = yuv[:, ::2, 1], yuv[:, ::2, 2]
    sent = message(pairs, encoding, padding)
    sent.width = width  # the second half of the last pair belongs to no pixel
    np.testing.assert_allclose(to_rgb(sent), gradient()[:, :width].astype(int), atol=8)


def test_an_odd_yuv_image_without_its_last_pair_is_refused() -> None:
    sent = message(np.zeros((4, 5, 2), np.uint8), "yuyv")
    with pytest.raises(ValueError, match="step is 10 bytes, but 5 px of yuyv take 12"):
        to_rgb(sent)


@pytest.mark.parametrize("padding", [0, 2, 13, 64])
@pytest.mark.parametrize("size", [(24, 32), (23, 32), (24, 31), (23, 31)])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_images_of_two_planes_give_the_colors_back(
    encoding: str, size: tuple[int, int], padding: int
) -> None:
    height, width = size
    yuv = to_yuv(gradient()).round().astype(np.uint8)
    order = [1, 2] if encoding == "nv12" else [2, 1]
    colors = yuv[::2, ::2, order].reshape(12, 32)
    rows = np.concatenate([yuv[:height, :, 0], colors])
    sent = message(rows, encoding, padding)
    sent.height, sent.width = height, width
    sent.data = sent.data[: len(sent.data) - padding]
    np.testing.assert_allclose(to_rgb(sent), gradient()[:height, :width].astype(int), atol=12)
    sent.data = sent.data[:-1]
    with pytest.raises(ValueError, match=f"{width}x{height} px of {encoding} with step"):
        to_rgb(sent)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("full", [0, 4, 8, 16, 64]),
        ("0..4095", [0, 64, 128, 255, 255]),
        ("1024..2048", [0, 0, 255, 255, 255]),
        ("auto", [0, 16, 32, 64, 255]),
    ],
)
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bayer_grbg16", "png"])
def test_a_range_spreads_12_and_14_bits(encoding: str, text: str, want: list[int]) -> None:
    values = np.repeat(np.array([0, 1024, 2048, 4096, 16384], np.uint16), 8)  # columns of 8 px
    wide = np.tile(values, (12, 1))
    if encoding == "png":
        data = cv2.imencode(".png", wide)[1].tobytes()
        sent: Image | CompressedImage = CompressedImage(format="mono16; png", data=data)
    else:
        pixels = np.stack([wide] * 3, axis=2) if encoding == "rgb16" else wide
        sent = message(pixels, encoding, padding=10)
    got = to_rgb(sent, parse_range(text))
    np.testing.assert_allclose(got[6, 4::8], np.array(want)[:, None].repeat(3, 1), atol=1)


def test_auto_leaves_single_hot_and_dead_pixels_out() -> None:
    wide = np.tile(np.linspace(3000, 7000, 100).round().astype(np.uint16), (50, 1))
    wide[3, 5], wide[7, 9] = 65535, 0
    got = to_rgb(message(wide, "mono16"), parse_range("auto"))[..., 0]
    np.testing.assert_allclose(got[20], np.linspace(0, 255, 100), atol=1)
    flat = message(np.full((4, 5), 900, np.uint16), "mono16")
    assert (to_rgb(flat, parse_range("auto")) == 0).all()


def test_16uc1_is_depth_until_a_range_says_that_it_is_a_picture() -> None:
    sent = message(np.full((4, 5), 8192, np.uint16), "16UC1")
    with pytest.raises(ValueError, match="'16UC1' is depth; if it is a thermal or grey picture"):
        to_rgb(sent)
    assert (to_rgb(sent, parse_range("0..16383")) == 128).all()


@pytest.mark.parametrize("text", ["0..70000", "5..5", "9..3", "", "wide", "-3..9", "0..1..2"])
def test_impossible_ranges_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r}; give full, auto or LOW..HIGH")):
        parse_range(text)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("RGB8", "'rgb8'"), ("YUYV", "'yuyv'"), ("8uc3", "'8UC3'"), ("strange", "one of rgb8, bgr8")],
)
def test_an_unknown_encoding_is_named_with_the_nearest(given: str, meant: str) -> None:
    sent = message(picture(), "rgb8")
    sent.encoding = given
    with pytest.raises(ValueError, match=f"'{given}' cannot be read as colour; publish {meant}"):
        to_rgb(sent)


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


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "codec"), [(8, "jpeg"), (8, "png"), (16, "png")])
def test_compressed_mosaics_become_colors(pattern: str, bits: int, codec: str) -> None:
    seen = mosaic(gradient(), pattern)
    stored = seen if bits == 8 else seen.astype(np.uint16) * 257
    data = cv2.imencode(f".{codec}", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    name = f"bayer_{pattern}{bits}; {codec} compressed "
    got = to_rgb(CompressedImage(format=name, data=data))[2:-2, 2:-2]
    assert np.abs(got.astype(int) - gradient()[2:-2, 2:-2]).mean() < 4


def test_the_pattern_of_a_mosaic_may_be_in_capitals() -> None:
    data = cv2.imencode(".png", mosaic(gradient(), "rggb"))[1].tobytes()
    low, high = (
        to_rgb(CompressedImage(format=f"{name}8; png compressed", data=data))
        for name in ("bayer_rggb", "BAYER_RGGB")
    )
    np.testing.assert_array_equal(low, high)


def test_a_mosaic_that_was_sent_as_colors_stays_as_it_is() -> None:
    data = cv2.imencode(".png", gradient()[..., ::-1])[1].tobytes()
    sent = CompressedImage(format="bayer_rggb8; jpeg compressed bgr8", data=data)
    np.testing.assert_array_equal(to_rgb(sent), gradient())


@pytest.mark.parametrize("codec", ["png", "tiff", "webp", "jp2", "bmp"])
def test_every_codec_of_opencv_gives_the_colors_back(codec: str) -> None:
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if codec == "webp" else []
    rgb = cv2.resize(gradient(), (128, 96))
    data = cv2.imencode(f".{codec}", rgb[..., ::-1], options)[1].tobytes()
    got = to_rgb(CompressedImage(format=f"rgb8; {codec} compressed bgr8", data=data))
    np.testing.assert_allclose(got, rgb.astype(int), atol=4)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_files_become_rgb(channels: int) -> None:
    stored = picture()[..., 0] if channels == 1 else alpha(picture())[..., [2, 1, 0, 3]]
    data = cv2.imencode(".png", stored)[1].tobytes()
    got = to_rgb(CompressedImage(format="png", data=data))
    want = np.stack([stored] * 3, axis=2) if channels == 1 else picture()
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 torn"])
def test_undecodable_data_gives_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"format 'jpeg' with {len(data)} bytes ") as caught:
        to_rgb(CompressedImage(format="jpeg", data=data))
    assert "\n" not in str(caught.value)


def test_sizes_are_checked_before_anything_is_decoded() -> None:
    data = bytearray(cv2.imencode(".png", picture())[1].tobytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ValueError, match="claims 60000 x 60000 px"):
        to_rgb(CompressedImage(format="png", data=bytes(data)))


@pytest.mark.parametrize(
    "name", ["16UC1; compressedDepth", "32FC1; compressedDepth png", "32FC1; tiff compressed"]
)
@pytest.mark.parametrize("text", ["full", "auto"])
def test_compressed_depth_is_refused(name: str, text: str) -> None:
    data = cv2.imencode(".png", np.zeros((4, 5), np.uint16))[1].tobytes()
    with pytest.raises(ValueError, match="is depth"):
        to_rgb(CompressedImage(format=name, data=data), parse_range(text))


def test_files_of_other_numbers_are_refused() -> None:
    data = cv2.imencode(".tiff", np.ones((4, 5), np.float32))[1].tobytes()
    with pytest.raises(ValueError, match="holds float32 values; 8 or 16 bits can be read"):
        to_rgb(CompressedImage(format="tiff", data=data))


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
