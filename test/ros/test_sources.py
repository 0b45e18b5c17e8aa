"""What the camera can play, and what it says of things it cannot."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from ros_bags import picture, write_bag
from rosbags.rosbag2 import StoragePlugin

from e2ec_core.value_range import parse_range
from e2ec_ros.playback.source_types import SourceImage
from e2ec_ros.playback.sources import open_source


def save(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode(path.suffix, rgb[..., ::-1])[1].tobytes())


def test_a_single_image(tmp_path: Path) -> None:
    save(tmp_path / "one.png", picture(1))
    source = open_source(str(tmp_path / "one.png"))
    assert source.length == 1
    (image,) = source.images()
    assert isinstance(image, SourceImage)
    np.testing.assert_array_equal(image.rgb, picture(1))
    assert image.name == "one"


def test_pages_of_an_image_are_played_one_after_the_other(tmp_path: Path) -> None:
    pages = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    cv2.imwritemulti(str(tmp_path / "pages.tif"), pages)
    source = open_source(str(tmp_path / "pages.tif"))
    assert source.length == 3
    assert [image.rgb[0, 0, 0] for image in source.images()] == [10, 20, 30]


def test_a_folder_plays_in_natural_order_and_steps_over_broken_files(tmp_path: Path) -> None:
    for index in (10, 2, 1, 0):
        save(tmp_path / f"frame{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._frame1.png").write_bytes(b"of macOS")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    source = open_source(str(tmp_path))
    assert source.length == 4
    assert source.description == f"4 images in {tmp_path}; 3 other files left out"
    names = [image.name for image in source.images() if isinstance(image, SourceImage)]
    assert names == ["frame0", "frame1", "frame2", "frame10"]
    for broken in ("frame0.png", "frame2.png"):
        (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:60])
    for again in (source, open_source(str(tmp_path))):
        items = list(again.images())
        assert [isinstance(item, ValueError) for item in items] == [True, False, True, False]
        assert "frame2.png" in str(items[2])


def test_a_folder_without_one_readable_image_is_refused(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of 3 images can be read: image .*0\.jpg"):
        open_source(str(tmp_path))


def test_16_bit_files_are_shown_in_their_range(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "thermal.png"), np.full((4, 5), 8192, np.uint16))
    (image,) = open_source(str(tmp_path), values=parse_range("0..16383")).images()
    assert isinstance(image, SourceImage)
    assert (image.rgb == 128).all()


def test_the_drive_is_endless_calibrated_and_the_same_every_time() -> None:
    source = open_source("synthetic", seed=3)
    assert source.length is None
    first, second = islice(source.images(), 2)
    again = next(source.images())
    assert isinstance(first, SourceImage)
    assert isinstance(second, SourceImage)
    assert isinstance(again, SourceImage)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert (first.rgb != second.rgb).any()
    assert first.intrinsics is not None
    assert first.intrinsics[0] > 100


def test_the_photographs_are_there() -> None:
    images = [i for i in open_source("photographs").images() if isinstance(i, SourceImage)]
    assert [image.name for image in images] == [
        "astronaut",
        "chelsea",
        "coffee",
        "motorcycle_left",
    ]
    assert images[0].rgb.shape == (512, 512, 3)


def test_unusable_input_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"no film")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "torn.mcap").write_bytes(b"no bag")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("{")
    write_bag(tmp_path / "nothing", StoragePlugin.SQLITE3, 0)
    for name, words in (
        ("missing.png", "does not exist"),
        ("empty", "holds no images"),
        ("film.mp4", "nor a video"),
        ("torn.png", "truncated|cannot be read"),
        ("torn.mcap", "cannot be read"),
        ("bag", "cannot be read"),
        ("nothing", "no image on /cam/image"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            open_source(str(tmp_path / name))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value), caught.value
    with pytest.raises(ValueError, match="is no kind of address"):
        open_source("gopher://somewhere/film")
    with pytest.raises(ValueError, match="'' does not exist"):
        open_source("")


def test_the_street_scenes_are_imported_only_when_they_are_played() -> None:
    program = "import sys, e2ec_ros.playback.sources as s; s.open_source('photographs'); "
    program += "print('street_scenes' in sys.modules, 'rosbags' in sys.modules)"
    reply = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert reply.stdout.strip() == "False False"
