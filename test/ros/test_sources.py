"""What the camera can play, and what it says of things it cannot."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from e2ec_ros.playback.sources import open_source

STORE = get_typestore(Stores.ROS2_JAZZY)


def picture(seed: int, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.uint8)


def save(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode(path.suffix, rgb[..., ::-1])[1].tobytes())


def write_bag(folder: Path, plugin: StoragePlugin, count: int, topic: str = "/cam/image") -> None:
    """A rosbag2 with bgr8 images of padded rows, and CameraInfo before them."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=5, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="bag_optical_frame")
    roi = types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    info = types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=32,
        width=48,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([50.0, 0, 24, 0, 50, 16, 0, 0, 1]),
        r=np.eye(3).reshape(-1),
        p=np.array([50.0, 0, 24, 0, 0, 50, 16, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        infos = writer.add_connection(
            f"{topic.rsplit('/', 1)[0]}/camera_info", info.__msgtype__, typestore=STORE
        )
        images = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=STORE)
        writer.write(infos, 10**9, STORE.serialize_cdr(info, info.__msgtype__))
        for index in range(count):
            rows = np.pad(picture(index)[..., ::-1].reshape(32, -1), ((0, 0), (0, 16)))
            message = types["sensor_msgs/msg/Image"](
                header=header,
                height=32,
                width=48,
                encoding="bgr8",
                is_bigendian=0,
                step=rows.shape[1],
                data=rows.reshape(-1),
            )
            raw = STORE.serialize_cdr(message, message.__msgtype__)
            writer.write(images, 2 * 10**9 + index * 10**8, raw)


def test_a_single_image(tmp_path: Path) -> None:
    save(tmp_path / "one.png", picture(1))
    source = open_source(str(tmp_path / "one.png"))
    assert source.length == 1
    (image,) = source.images()
    np.testing.assert_array_equal(image.rgb, picture(1))
    assert image.name == "one"


def test_a_folder_plays_by_name_and_steps_over_broken_files(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        save(tmp_path / f"{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(str(tmp_path))
    assert source.length == 3
    assert [image.name for image in source.images()] == ["0", "1", "2"]
    (tmp_path / "1.png").write_bytes(b"broken")
    images = source.images()
    assert next(images).name == "0"
    with pytest.raises(ValueError, match=r"1\.png"):
        next(images)
    assert next(images).name == "2"


def test_a_video_plays_all_its_frames_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (48, 32))
    for index in range(9):
        writer.write(np.ascontiguousarray(picture(index)[..., ::-1]))
    writer.release()
    source = open_source(str(path))
    assert source.rate == pytest.approx(12.0)
    images = list(source.images())
    assert len(images) == 9
    assert np.abs(images[4].rgb.astype(int) - picture(4)).mean() < 6
    assert len(list(source.images())) == 9  # it can start again


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_bag_gives_images_camera_and_frame(tmp_path: Path, plugin: StoragePlugin) -> None:
    folder = tmp_path / "bag"
    write_bag(folder, plugin, 5)
    source = open_source(str(folder))
    assert source.length == 5
    images = list(source.images())
    assert len(images) == 5
    np.testing.assert_array_equal(images[3].rgb, picture(3))
    assert images[0].frame_id == "bag_optical_frame"
    assert images[0].camera_info.p[0] == 50.0
    inside = next(folder.glob("*.db3"), None) or next(folder.glob("*.mcap"))
    assert len(list(open_source(str(inside)).images())) == 5


def test_the_drive_is_endless_calibrated_and_the_same_every_time() -> None:
    source = open_source("synthetic", seed=3)
    assert source.length is None
    first, second = islice(source.images(), 2)
    again = next(source.images())
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert (first.rgb != second.rgb).any()
    assert first.intrinsics is not None
    assert first.intrinsics[0] > 100


def test_the_photographs_are_there() -> None:
    images = list(open_source("photographs").images())
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
        ("torn.png", "not a picture"),
        ("torn.mcap", "cannot be read"),
        ("bag", "cannot be read"),
        ("nothing", "no image on /cam/image"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            open_source(str(tmp_path / name))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value), caught.value


def test_a_topic_that_the_bag_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", StoragePlugin.MCAP, 1)
    with pytest.raises(ValueError, match="'/other'; it has /cam/image"):
        open_source(str(tmp_path / "bag"), bag_topic="/other")
