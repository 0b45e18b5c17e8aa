"""Reading image files: pixels, headers, folders, and files that are no images or not whole."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_bytes import encoded, exif, picture, png_chunk, turned_jpeg, turned_webp

from e2ec_core.image_files import (
    ImageHeader,
    decode_image,
    list_images,
    natural_key,
    read_header,
    read_image,
)
from e2ec_core.value_range import parse_range, warn_of_darkness

IMAGE = picture()


def test_an_image_is_read_as_rgb(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 250  # red
    (tmp_path / "red.png").write_bytes(encoded(image, ".png"))
    read = read_image(tmp_path / "red.png")
    np.testing.assert_array_equal(read, image)
    assert read.flags["C_CONTIGUOUS"]


def test_grey_deep_and_transparent_images_are_read_as_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 6), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((4, 6, 4), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 6), 90 * 257, np.uint16))
    for name in ("grey.png", "alpha.png", "deep.png"):
        assert read_image(tmp_path / name).tolist() == np.full((4, 6, 3), 90).tolist()


def test_images_of_16_bits_are_shown_in_a_range_and_dark_ones_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("wide", 40_000), ("black", 0), ("low", 2048)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 6), value, np.uint16))
    assert (read_image(tmp_path / "low.png", values=parse_range("0..4095")) == 128).all()
    warn_of_darkness.cache_clear()
    shown = [read_image(tmp_path / f"{n}.png").max() for n in ("wide", "black", "low", "low")]
    assert shown == [156, 0, 8, 8]
    (line,) = caplog.messages
    assert line.startswith("a 16-bit image has no value above 16383 and is shown dark; ")
    assert line.endswith("set range, e.g. 0..4095, 0..16383 or auto")


def test_pixels_are_those_of_opencv(tmp_path: Path) -> None:
    for ending in (".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm"):
        path = tmp_path / f"one{ending}"
        path.write_bytes(encoded(IMAGE, ending))
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
        for data in (path.read_bytes(), np.fromfile(path, np.uint8)):
            np.testing.assert_array_equal(decode_image(data), read_image(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_as_stored_or_upright(tmp_path: Path, orientation: int) -> None:
    turned = []
    for ending, turn in ((".jpg", turned_jpeg), (".webp", turned_webp)):
        path = tmp_path / f"photo{ending}"
        path.write_bytes(turn(IMAGE, orientation))
        stored = decode_image(encoded(IMAGE, ending))
        np.testing.assert_array_equal(read_image(path), stored)
        turned.append(read_image(path, upright=True))
        assert read_header(path).upright_size == turned[-1].shape[:2]
    np.testing.assert_array_equal(turned[0], cv2.imread(str(tmp_path / "photo.jpg"))[..., ::-1])
    assert abs(turned[0].astype(int) - turned[1]).mean() < 6  # JPEG and WebP of one picture


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_headers_give_the_size(tmp_path: Path, ending: str) -> None:
    data = encoded(IMAGE, ending)
    assert read_header(data) == ImageHeader(height=40, width=64)
    path = tmp_path / f"one{ending}"
    path.write_bytes(data)
    assert read_header(path) == ImageHeader(height=40, width=64)


@pytest.mark.parametrize("order", ["<", ">"])
def test_headers_give_the_orientation(order: str) -> None:
    for orientation in range(1, 9):
        webp = turned_webp(IMAGE, orientation, order)
        assert read_header(webp) == ImageHeader(height=40, width=64, orientation=orientation)
        assert read_header(webp[:-30]).truncated
        assert read_header(turned_jpeg(IMAGE, orientation, order)).orientation == orientation
        png = encoded(IMAGE, ".png")
        turned = png[:33] + png_chunk(b"eXIf", exif(orientation, order)) + png[33:]
        assert read_header(turned) == ImageHeader(height=40, width=64, orientation=orientation)
    assert read_header(turned_jpeg(IMAGE, 9)).orientation == 1  # no such orientation


def test_progressive_jpegs_with_a_preview_and_padding_are_whole() -> None:
    """A preview inside the EXIF block has an end marker of its own."""
    jpeg = encoded(IMAGE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    block = b"Exif\0\0" + exif(1) + encoded(IMAGE[:8, :8])
    preview = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
    for data in (jpeg, preview, preview + bytes(100_000), preview + b"film" * 40_000):
        assert read_header(data) == ImageHeader(height=40, width=64)
        assert decode_image(data).shape == (40, 64, 3)
    assert read_header(preview[:-100]).truncated


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_truncated_files_are_refused_at_every_length(tmp_path: Path, ending: str) -> None:
    data = encoded(IMAGE, ending)
    path = tmp_path / f"cut{ending}"
    for length in [*range(12, 400, 7), *range(400, len(data), 97), len(data) - 1]:
        with pytest.raises(ValueError, match=r"truncated|cannot be read"):
            decode_image(data[:length])
    # A download that stopped leaves zeros at the end, or nothing.
    for cut in (data[:-200], data[:-200] + bytes(200)):
        path.write_bytes(cut)
        assert read_header(path).truncated
        with pytest.raises(ValueError, match=rf"cut\{ending}' is truncated or damaged"):
            read_image(path)


def test_a_flipped_length_in_a_png_costs_neither_time_nor_memory() -> None:
    png = bytearray(encoded(picture(300, 300), ".png"))
    position = png.index(b"IDAT") - 4
    png[position] = 0x7F
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ValueError, match="is truncated or damaged"):
        decode_image(png)
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_sizes_beyond_the_limit_are_refused_before_decoding() -> None:
    png, jpeg = encoded(IMAGE, ".png"), bytearray(encoded(IMAGE))
    header = png_chunk(b"IHDR", struct.pack(">II", 40_000, 30_000) + png[24:29])
    with pytest.raises(ValueError, match="claims 40000 x 30000 px; at most 268435456 px are read"):
        decode_image(png[:8] + header + png[33:])
    position = jpeg.index(b"\xff\xc0")
    jpeg[position + 5 : position + 9] = struct.pack(">HH", 30_000, 40_000)
    with pytest.raises(ValueError, match="claims 40000 x 30000 px"):
        decode_image(jpeg)


def test_what_opencv_throws_is_a_value_error() -> None:
    """OpenCV itself stops at 2^30 px."""
    bitmap = bytearray(encoded(IMAGE, ".bmp"))
    bitmap[18:26] = struct.pack("<ii", 70_000, 70_000)
    with pytest.raises(ValueError, match="is too large; at most 268435456 px are read"):
        decode_image(bitmap)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "none.png": "does not exist; check the path",
        "text.png": "cannot be read; it must be a JPEG, PNG or the like",
        "empty.jpg": "cannot be read: the file is empty",
        "folder.png": "is a folder; give a file",
    }.items():
        for read in (read_image, read_header):
            with pytest.raises(ValueError, match=rf"image '.*{name}' {reason}"):
                read(tmp_path / name)


def test_files_come_in_natural_order_without_what_is_no_image(tmp_path: Path) -> None:
    wanted = ["frame1.png", "frame2.PNG", "frame10.jpeg", "frame10b.png"]
    others = ["._frame1.png", ".hidden.jpg", "notes.txt", "Thumbs.db"]
    for name in wanted + others:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = list_images(tmp_path)
    assert [f.name for f in found.files] == wanted
    assert [f.name for f in found.skipped] == others
    with pytest.raises(ValueError, match=r"folder '.*nowhere' cannot be read: No such file"):
        list_images(tmp_path / "nowhere")


def test_natural_order_counts_digits_as_numbers() -> None:
    names = ["b/1", "a/10", "a/9", "a/09", "A/9", "x", "10", "2", ""]
    assert sorted(names, key=natural_key) == [
        "",
        "2",
        "10",
        "A/9",
        "a/09",
        "a/9",
        "a/10",
        "b/1",
        "x",
    ]
