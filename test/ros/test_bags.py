"""Which topic of a bag is played, with which camera and stamps, and what broken bags cost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from ros_bags import (
    compressed,
    depth,
    header,
    info,
    picture,
    raw,
    write_bag,
    write_messages,
)
from ros_bags import (
    image as raw_image,
)
from rosbags.rosbag2 import StoragePlugin

from e2ec_core.value_range import parse_range
from e2ec_ros.playback.source_types import Source, SourceImage
from e2ec_ros.playback.sources import open_source

PLUGINS = [StoragePlugin.SQLITE3, StoragePlugin.MCAP]


def played(source: Source) -> tuple[list[SourceImage], list[str]]:
    """The images of a source, and what it says of the others."""
    items = list(source.images())
    images = [item for item in items if isinstance(item, SourceImage)]
    return images, [str(item) for item in items if isinstance(item, ValueError)]


def data_file(folder: Path) -> Path:
    return next(f for f in folder.iterdir() if f.suffix in (".db3", ".mcap"))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_bag_gives_images_camera_frame_and_stamps(tmp_path: Path, plugin: StoragePlugin) -> None:
    folder = write_bag(tmp_path / "bag", plugin, 5)
    source = open_source(str(folder))
    assert source.length == 5
    assert source.rate == pytest.approx(10.0)
    images, errors = played(source)
    assert not errors
    assert len(images) == 5
    np.testing.assert_array_equal(images[3].rgb, picture(3))
    assert images[0].frame_id == "bag_optical_frame"
    assert images[0].camera_info.p[0] == 50.0
    assert images[3].stamp == pytest.approx(2_300_000_000, abs=1)
    assert len(played(open_source(str(data_file(folder))))[0]) == 5
    (folder / "metadata.yaml").unlink()  # as a killed recorder leaves it
    assert len(played(open_source(str(folder)))[0]) == 5


def test_colour_is_chosen_before_depth(tmp_path: Path) -> None:
    sent = [("/depth/image", 1, depth()), ("/depth/metres", 1, depth("32FC1"))]
    sent += [("/depth/small/compressedDepth", 1, compressed(b"x", "16UC1; compressedDepth png"))]
    sent += [("/ir/image", 1, depth("mono16")), ("/color/image", 1, raw(picture(1)))]
    bag = str(write_messages(tmp_path / "bag", sent))
    source = open_source(bag)
    assert (
        ", /color/image (bgr8); other image topics: /depth/image (16UC1, depth)"
        in source.description
    )
    np.testing.assert_array_equal(played(source)[0][0].rgb, picture(1))
    assert "/ir/image (mono16)" in open_source(bag, bag_topic="/ir/image").description
    for topic in ("/depth/image", "/depth/metres", "/depth/small/compressedDepth"):
        with pytest.raises(ValueError, match=f"no colour on {topic}, only /depth/image") as caught:
            open_source(bag, bag_topic=topic)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_colour_is_chosen_before_grey(tmp_path: Path, packed: bool) -> None:
    grey = np.repeat(picture(2)[..., :1], 3, axis=2)
    if packed:
        jpegs = [cv2.imencode(".jpg", rgb)[1].tobytes() for rgb in (grey, picture(1))]
        infrared, colour = (compressed(jpeg, "jpeg") for jpeg in jpegs)
    else:
        infrared = raw_image(grey[..., 0], 48, "mono8", header())
        colour = raw(picture(1))
    sent = [("/a/infrared", 1, infrared), ("/b/colour", 1, colour), ("/c/depth", 1, depth())]
    bag = str(write_messages(tmp_path / "bag", sent))
    assert ", /b/colour (" in open_source(bag).description
    assert ", /a/infrared (" in open_source(bag, bag_topic="/a/infrared").description


def test_grey_of_16_bits_is_shown_where_nothing_else_is(tmp_path: Path) -> None:
    bag = str(write_messages(tmp_path / "bag", [("/t/image", 1, depth())]))
    with pytest.raises(ValueError, match="set range"):
        open_source(bag)
    (image,), errors = played(open_source(bag, values=parse_range("0..16383")))
    assert not errors
    assert (image.rgb == 128).all()


def test_a_topic_that_the_bag_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    bag = str(write_bag(tmp_path / "bag", StoragePlugin.MCAP, 1))
    with pytest.raises(ValueError, match=re.escape("'/other'; it has /cam/image (bgr8)")):
        open_source(bag, bag_topic="/other")
    with pytest.raises(ValueError, match=r"/cam/camera_info is of sensor_msgs/msg/CameraInfo"):
        open_source(bag, bag_topic="/cam/camera_info")
    with pytest.raises(ValueError, match="bag_topic is '/cam/image'"):
        open_source(str(tmp_path), bag_topic="/cam/image")


def test_the_rate_is_that_of_the_topic(tmp_path: Path) -> None:
    """A second of images in a bag of ten minutes, with a pause."""
    times = [300 + 0.1 * i for i in range(10)]
    sent = [("/info", 0.0, info())] + [("/cam/image", t, raw(picture(1), t)) for t in times]
    sent += [("/cam/image", 400.0, raw(picture(1), 400.0)), ("/info", 600.0, info())]
    assert open_source(str(write_messages(tmp_path / "bag", sent))).rate == pytest.approx(10.0)


def test_without_stamps_of_its_own_the_receive_times_tell(tmp_path: Path) -> None:
    sent = [("/cam/image", 7 + 0.25 * i, raw(picture(i), 0.0)) for i in range(4)]
    source = open_source(str(write_messages(tmp_path / "bag", sent)))
    assert source.rate == pytest.approx(4.0)
    assert played(source)[0][1].stamp == 7_250_000_000


@pytest.mark.parametrize("plugin", PLUGINS)
def test_one_bad_message_costs_one_image(tmp_path: Path, plugin: StoragePlugin) -> None:
    bad = raw(picture(2))
    bad.data = bad.data[:100]
    unknown = raw(picture(2))
    unknown.encoding = "strange"
    sent = [("/cam/image", i, raw(picture(i))) for i in range(2)]
    sent += [
        ("/cam/image", 2, bad),
        ("/cam/image", 3, b"\0\1\0\0torn"),
        ("/cam/image", 4, unknown),
    ]
    sent += [("/cam/image", i, raw(picture(i))) for i in (5, 6)]
    source = open_source(str(write_messages(tmp_path / "bag", sent, plugin)))
    images, errors = played(source)
    assert [i.name[-5:] for i in images] == ["00000", "00001", "00005", "00006"]
    np.testing.assert_array_equal(images[3].rgb, picture(6))
    assert [e.partition(":")[0] for e in errors] == [f"image {i} of /cam/image" for i in (2, 3, 4)]
    assert "image data is 100 bytes long" in errors[0]
    assert all("\n" not in e for e in errors)


@pytest.mark.parametrize("cut", [0.5, 0.97])
@pytest.mark.parametrize("height", [32, 320])  # within the first chunk, and many chunks
def test_an_mcap_without_its_end_is_played_as_far_as_it_goes(
    tmp_path: Path, cut: float, height: int
) -> None:
    sent = [("/cam/image", i / 10, raw(picture(i, height, 480))) for i in range(20)]
    folder = write_messages(tmp_path / "bag", sent)
    file = data_file(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * cut)])
    for path in (folder, file):
        source = open_source(str(path))
        assert "was not closed" in source.description
        images, errors = played(source)
        assert len(images) == pytest.approx(20 * cut, abs=1.5)
        for index, image in enumerate(images):
            np.testing.assert_array_equal(image.rgb, picture(index, height, 480))
        (error,) = errors
        assert "was not closed, so its last messages are lost" in error
        of = " of 20" if path == folder else ""  # metadata.yaml counts them
        assert f"; {len(images)}{of} images of /cam/image are there" in error
    assert len(file.read_bytes()) == int(len(whole) * cut)  # the user's file is as it was


def test_a_torn_database_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = data_file(write_bag(tmp_path / "bag", StoragePlugin.SQLITE3, 20))
    file.write_bytes(file.read_bytes()[: 2**15])
    wanted = rf"'{file}' cannot be read: .*malformed; copy it again, or try: sqlite3 {file} "
    for path in (file, file.parent):
        with pytest.raises(ValueError, match=wanted) as caught:
            open_source(str(path))
        assert "\n" not in str(caught.value)


def test_a_torn_file_of_a_split_bag_costs_only_itself(tmp_path: Path) -> None:
    folder, other = tmp_path / "bag", tmp_path / "other"
    torn = data_file(write_bag(folder, StoragePlugin.SQLITE3, 20))
    torn.write_bytes(torn.read_bytes()[: 2**15])
    data_file(write_bag(other, StoragePlugin.SQLITE3, 4)).rename(folder / "second.db3")
    source = open_source(str(folder))
    assert f"'{torn}' cannot be read" in source.description
    images, errors = played(source)
    assert len(images) == 4
    (error,) = errors
    assert error.startswith(f"'{torn}' cannot be read")


def focal(source: Source) -> float | None:
    camera_info = played(source)[0][0].camera_info
    return None if camera_info is None else float(camera_info.k[0])


def test_the_camera_info_beside_the_images_is_theirs(tmp_path: Path) -> None:
    """Also if it comes after the first image, and with other cameras' before it."""
    sent = [("/left/camera_info", 0, info(10.0)), ("/camera_info", 0, info(20.0))]
    sent += [("/right/image_raw", 1, raw(picture(1))), ("/right/camera_info", 2, info(30.0))]
    png = cv2.imencode(".png", picture(1))[1].tobytes()
    sent += [("/left/image_raw/compressed", 3, compressed(png, "bgr8; png compressed "))]
    bag = str(write_messages(tmp_path / "bag", sent))
    assert focal(open_source(bag, bag_topic="/right/image_raw")) == 30.0
    assert focal(open_source(bag, bag_topic="/left/image_raw/compressed")) == 10.0


def test_elsewhere_only_the_camera_info_of_the_same_frame_counts(tmp_path: Path) -> None:
    sent = [("/a/info", 0, info(10.0, frame_id="other")), ("/b/info", 0, info(20.0))]
    sent += [("/cam/image", 1, raw(picture(1)))]
    assert focal(open_source(str(write_messages(tmp_path / "one", sent)))) == 20.0
    two = [*sent, ("/c/info", 0.5, info(30.0))]
    assert (
        focal(open_source(str(write_messages(tmp_path / "two", sorted(two, key=lambda m: m[1])))))
        is None
    )


def test_a_camera_info_topic_of_another_type_is_not_read(tmp_path: Path) -> None:
    sent = [("/cam/camera_info", 0, raw(picture(3))), ("/cam/image", 1, raw(picture(1)))]
    assert (
        focal(open_source(str(write_messages(tmp_path / "bag", sent)), bag_topic="/cam/image"))
        is None
    )


def test_bags_without_message_definitions_are_read(tmp_path: Path) -> None:
    """As Humble and older write them to sqlite3."""
    import sqlite3

    file = data_file(write_bag(tmp_path / "bag", StoragePlugin.SQLITE3, 3))
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM message_definitions")
        database.execute("UPDATE topics SET type_description_hash = ''")
    database.close()
    for line in ("type_description_hash",):
        text = (file.parent / "metadata.yaml").read_text()
        (file.parent / "metadata.yaml").write_text(re.sub(rf"{line}: .*", f"{line}: ''", text))
    assert len(played(open_source(str(file.parent)))[0]) == 3


def test_recordings_of_ros_1_are_read(tmp_path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    t = store.types
    stamp = t["builtin_interfaces/msg/Time"](sec=5, nanosec=7)
    head = t["std_msgs/msg/Header"](seq=1, stamp=stamp, frame_id="cam")
    rows: NDArray[np.uint8] = picture(1).reshape(32, -1)
    image = t["sensor_msgs/msg/Image"](head, 32, 48, "rgb8", 0, 144, rows.reshape(-1))
    path = tmp_path / "old.bag"
    with Writer(path) as writer:
        connection = writer.add_connection("/cam/image", image.__msgtype__, typestore=store)
        writer.write(connection, 10**9, store.serialize_ros1(image, image.__msgtype__))
    (got,), _ = played(open_source(str(path)))
    np.testing.assert_array_equal(got.rgb, picture(1))
    assert got.stamp == 5_000_000_007
    shutil.copy(path, tmp_path / "again.bag")
