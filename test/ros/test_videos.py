"""Video files that are damaged, turned or of no rate; cameras that are not there; streams."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import damage, frames_of, write_film
from numpy.typing import NDArray
from ros_bags import picture

from e2ec_ros.playback.prefetch import Prefetched
from e2ec_ros.playback.source_types import Source, SourceImage
from e2ec_ros.playback.sources import open_source

SIZE = (96, 128)  # height, width, px


def film(path: Path, count: int = 20, codec: str = "MJPG") -> Path:
    return write_film(path, (picture(index, *SIZE) for index in range(count)), codec)


def shown(rgb: NDArray[np.uint8], count: int = 20) -> int:
    """Which frame of the film an image is."""
    errors = [np.abs(rgb.astype(int) - picture(i, *SIZE)).mean() for i in range(count)]
    assert min(errors) < 6
    return int(np.argmin(errors))


def played(source: Source) -> tuple[list[SourceImage], list[str]]:
    items = list(source.images())
    images = [item for item in items if isinstance(item, SourceImage)]
    return images, [str(item) for item in items if isinstance(item, ValueError)]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("b.mp4", "mp4v"), ("c.mkv", "MJPG")]
)
def test_a_video_plays_all_its_frames_at_its_rate(tmp_path: Path, name: str, codec: str) -> None:
    source = open_source(str(film(tmp_path / name, 9, codec)))
    assert source.rate == pytest.approx(12.0)
    for _ in range(2):  # it can start again
        images, errors = played(source)
        assert not errors
        assert [shown(image.rgb, 9) for image in images] == list(range(9))


@pytest.mark.parametrize("damaged", [[5], [0], [3, 4, 5, 9]])
def test_damaged_frames_cost_only_themselves(tmp_path: Path, damaged: list[int]) -> None:
    path = film(tmp_path / "film.avi")
    damage(path, damaged)
    images, errors = played(open_source(str(path)))
    assert [shown(image.rgb) for image in images] == [i for i in range(20) if i not in damaged]
    assert errors == [f"frame {i} of {str(path)!r} cannot be decoded" for i in damaged]


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi")
    data = path.read_bytes()
    path.write_bytes(data[: frames_of(data)[7][0]])
    images, errors = played(open_source(str(path)))
    assert [shown(image.rgb) for image in images] == list(range(7))
    assert errors == [f"video {str(path)!r} ends after 7 of 20 frames"]


@pytest.mark.parametrize("interval", [0, 1])
def test_a_video_of_no_rate_is_played_at_a_plausible_one(tmp_path: Path, interval: int) -> None:
    path = film(tmp_path / "film.avi", 9)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8, interval)  # us per frame
    scale = data.index(b"strh") + 8 + 20
    struct.pack_into("<II", data, scale, 1, 0 if interval == 0 else 1_000_000)
    path.write_bytes(data)
    source = open_source(str(path))
    assert 1.0 <= source.rate <= 240.0
    assert len(played(source)[0]) == 9


def test_a_film_of_a_turned_phone_is_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 3, "mp4v")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one, width = 1 << 16, SIZE[0] << 16
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, width, 0, 1 << 30)
    path.write_bytes(data)
    images, _ = played(open_source(str(path)))
    turned = np.rot90(picture(0, *SIZE), -1)  # clockwise
    assert images[0].rgb.shape == (128, 96, 3)
    upright, upside_down = (
        np.abs(images[0].rgb.astype(int) - wanted).mean()
        for wanted in (turned, np.rot90(turned, 2))
    )
    assert upright < 6
    assert upright < 0.8 * upside_down


@pytest.mark.parametrize("text", ["/dev/video97", "camera:97", "97"])
def test_a_camera_that_is_not_there_is_named_with_those_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"'/dev/video97' does not exist; there is ") as caught:
        open_source(text)
    assert "\n" not in str(caught.value)


def test_a_folder_whose_name_is_a_number_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0").mkdir()
    cv2.imwrite(str(tmp_path / "0" / "a.png"), picture(1))
    monkeypatch.chdir(tmp_path)
    assert open_source("0").description == "1 images in 0"


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_stream_that_cannot_be_opened_is_named_without_its_password(scheme: str) -> None:
    with pytest.raises(ValueError, match=f"'{scheme}://me:...@127.0.0.1:9/x' cannot be") as caught:
        open_source(f"{scheme}://me:secret@127.0.0.1:9/x")
    assert "\n" not in str(caught.value)


Serve = Callable[..., str]  # the fixture of conftest.py


def test_a_stream_gives_its_images_and_ends(serve: Serve) -> None:
    source = open_source(serve(12, 0.02))
    assert source.live
    assert source.length is None
    images, errors = played(source)
    assert not errors
    assert [shown(image.rgb, 12) for image in images] == list(range(12))
    times = [image.grabbed for image in images if image.grabbed is not None]
    assert len(times) == 12
    assert (np.diff(times) >= 0).all()
    assert times[-1] <= time.monotonic()


def test_a_stream_outlives_a_broken_image(serve: Serve) -> None:
    images, _ = played(open_source(serve(12, 0.02, broken=5)))
    assert {0, 1, 2, 3, 4, 9, 10, 11} <= {shown(image.rgb, 12) for image in images}


def test_a_slow_reader_gets_the_newest_image_and_not_the_oldest(serve: Serve) -> None:
    source = open_source(serve(20, 0.05))
    images = Prefetched(source.images(), 1, newest=True)
    first = next(images)
    time.sleep(0.6)
    second = next(images)
    assert isinstance(first, SourceImage)
    assert isinstance(second, SourceImage)
    assert shown(second.rgb) >= shown(first.rgb) + 5
    assert images.close(5.0)


def test_a_stream_without_images_says_so(serve: Serve) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        open_source(serve(0))
