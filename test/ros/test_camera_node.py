"""The camera node as a process: what it publishes, how it ends, what it says of bad input."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from ros_bags import info as camera_info
from ros_bags import picture, raw, write_messages
from sensor_msgs.msg import CameraInfo, Image

from e2ec_core.image_messages import to_rgb
from e2ec_ros.qos import latched

if TYPE_CHECKING:
    from ros_bench import Bench


def write_images(folder: Path, count: int) -> None:
    for index in range(count):
        pixels = np.full((48, 64, 3), 10 * index, np.uint8)
        pixels[index, 5] = (1, 2, 3)  # blue, green, red
        cv2.imwrite(str(folder / f"{index:03d}.png"), pixels)


def arguments(source: Path | str, **parameters: object) -> list[str]:
    given = {"source": source, "wait_for_subscriber": "true", **parameters}
    return ["--ros-args"] + [
        word for name, value in given.items() for word in ("-p", f"{name}:={value}")
    ]


def test_a_folder_is_published_with_stamps_frames_and_calibration(
    bench: Bench, tmp_path: Path
) -> None:
    write_images(tmp_path, 4)
    images = bench.listen(Image, "/image")
    infos = bench.listen(CameraInfo, "/camera_info", latched(10))
    camera = bench.start(
        "e2ec_ros.playback.camera_node",
        arguments(tmp_path, rate=10.0, frame_id="left", intrinsics="[60.0, 61.0, 31.5, 23.5]"),
    )
    assert camera.process.wait(60) == 0, camera.log.read_text()
    bench.wait(lambda: len(images) == len(infos) == 4)
    for index, (image, info) in enumerate(zip(images, infos, strict=True)):
        assert image.header == info.header
        assert image.header.frame_id == "left"
        assert to_rgb(image)[index, 5].tolist() == [3, 2, 1]
        assert (info.width, info.height) == (64, 48)
        assert list(info.k) == [60, 0, 31.5, 0, 61, 23.5, 0, 0, 1]
        assert list(info.p) == [60, 0, 31.5, 0, 0, 61, 23.5, 0, 0, 0, 1, 0]
    stamps = [i.header.stamp.sec + i.header.stamp.nanosec / 1e9 for i in images]
    assert np.diff(stamps).min() > 0


def test_an_unknown_camera_is_uncalibrated(bench: Bench, tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    infos = bench.listen(CameraInfo, "/camera_info", latched(10))
    bench.listen(Image, "/image")
    bench.start("e2ec_ros.playback.camera_node", arguments(tmp_path))
    bench.wait(lambda: infos)
    assert not np.any(infos[0].k)
    assert infos[0].header.frame_id == "camera_optical_frame"


def test_loop_starts_again_and_a_signal_ends_it(bench: Bench, tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    images = bench.listen(Image, "/image")
    camera = bench.start(
        "e2ec_ros.playback.camera_node", arguments(tmp_path, rate=50.0, loop="true")
    )
    bench.wait(lambda: len(images) >= 7)
    said = camera.log.read_text()
    camera.process.send_signal(signal.SIGTERM)
    assert camera.process.wait(10) == 0
    assert camera.log.read_text() == said


def test_unreadable_images_are_skipped_counted_and_named(bench: Bench, tmp_path: Path) -> None:
    write_images(tmp_path, 8)
    for index in (1, 2, 4, 7):
        (tmp_path / f"{index:03d}.png").write_bytes(b"broken")
    images = bench.listen(Image, "/image")
    camera = bench.start("e2ec_ros.playback.camera_node", arguments(tmp_path, rate=20.0))
    assert camera.process.wait(60) == 1
    bench.wait(lambda: len(images) == 4)
    assert camera.said_after("images published:") == "4"
    last = camera.log.read_text().splitlines()[-1]
    assert last.startswith("error: images skipped: 4 (4 published): image ")
    assert [last.count(f"00{index}.png") for index in (1, 2, 4, 7)] == [1, 1, 1, 0]
    assert last.endswith("; and 1 more")


def test_a_broken_bag_message_costs_one_image(bench: Bench, tmp_path: Path) -> None:
    short = raw(picture(2))
    short.data = short.data[:50]
    sent = [("/cam/image", i / 10, raw(picture(i), 10.0 + i / 10)) for i in range(6)]
    sent[2] = ("/cam/image", 0.2, short)
    bag = write_messages(tmp_path / "bag", sent)
    images = bench.listen(Image, "/image")
    camera = bench.start("e2ec_ros.playback.camera_node", arguments(bag, stamps="original"))
    assert camera.process.wait(60) == 1
    bench.wait(lambda: len(images) == 5)
    stamps = [i.header.stamp.sec + i.header.stamp.nanosec / 1e9 for i in images]
    assert stamps == pytest.approx([10.0, 10.1, 10.3, 10.4, 10.5], abs=1e-6)
    for image, index in zip(images, (0, 1, 3, 4, 5), strict=True):
        assert (to_rgb(image) == picture(index)).all()


@pytest.mark.parametrize(
    ("recorded", "want"),
    [
        (camera_info(50.0), [50, 0, 24, 0, 50, 16, 0, 0, 1]),
        (camera_info(100.0, (64, 96)), [50, 0, 24, 0, 50, 16, 0, 0, 1]),
        (camera_info(100.0, (64, 64)), [0.0] * 9),
        (camera_info(50.0, frame_id="elsewhere"), [0.0] * 9),
    ],
)
def test_a_recorded_camera_info_fits_or_is_left_out(
    bench: Bench, tmp_path: Path, recorded: object, want: list[float]
) -> None:
    sent = [("/cam/camera_info", 0.0, recorded)]
    sent += [("/cam/image", 1 + i / 10, raw(picture(i))) for i in range(3)]
    bag = write_messages(tmp_path / "bag", sent)
    bench.listen(Image, "/image")
    infos = bench.listen(CameraInfo, "/camera_info", latched(10))
    camera = bench.start("e2ec_ros.playback.camera_node", arguments(bag))
    assert camera.process.wait(60) == 0
    bench.wait(lambda: len(infos) == 3)
    for got in infos:
        assert (got.height, got.width) == (32, 48)
        assert list(got.k) == want
    warned = camera.log.read_text().count("the recorded CameraInfo is left out: it belongs to")
    assert warned == (want[0] == 0.0)


def test_a_stream_is_published_at_its_own_pace_and_its_end_is_said(
    bench: Bench, serve: Callable[..., str]
) -> None:
    images = bench.listen(Image, "/image")
    address = serve(160, 0.05)
    camera = bench.start("e2ec_ros.playback.camera_node", arguments(address))
    assert camera.process.wait(60) == 0, camera.log.read_text()
    assert f"stream {address} ended" in camera.log.read_text()
    published = int(camera.said_after("images published:"))
    assert 40 <= published <= 160
    bench.wait(lambda: len(images) >= published - 3)  # DDS may lose the first
    stamps = [i.header.stamp.sec + i.header.stamp.nanosec / 1e9 for i in images]
    assert np.median(np.diff(stamps)) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"source": "/nowhere/film.mp4"}, "'/nowhere/film.mp4' does not exist"),
        ({"source": "97"}, "camera '/dev/video97' does not exist; there is"),
        ({"source": "rtsp://127.0.0.1:9/x"}, "'rtsp://127.0.0.1:9/x' cannot be opened; check"),
        ({"source": "synthetic", "range": "0..99999"}, "range is '0..99999'; give full, auto"),
        ({"source": "synthetic", "rate": "-2.0"}, "rate is -2.0; give 0 to 1000"),
        ({"source": "synthetic", "rate": "often"}, "rate is 'often'"),
        ({"source": "synthetic", "intrinsics": "[1.0, 2.0]"}, "not 4 numbers"),
        ({"source": "synthetic", "intrinsics": "[500.0, 0.0, 1.0, 1.0]"}, "fx, fy, cx, cy"),
    ],
)
def test_bad_input_ends_with_one_line(
    bench: Bench, parameters: dict[str, str], words: str
) -> None:
    camera = bench.start("e2ec_ros.playback.camera_node", arguments(**parameters))  # type: ignore[arg-type]
    assert camera.process.wait(60) == 1
    (line,) = camera.log.read_text().strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
