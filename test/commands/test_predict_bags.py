"""e2ec predict on bags: every image of a topic, and bags with contours beside them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="no rosbags: pip install rosbags")

from ros_bags import T, compressed, depth, header, info, picture, raw, write_messages
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from e2ec_core.recordings.recording import frames_of, open_recording
from e2ec_core.value_range import FULL

FAST = ("--device", "cpu", "--short-side", "128", "--long-side", "128")
PLUGINS = [StoragePlugin.SQLITE3, StoragePlugin.MCAP]


@pytest.fixture
def drive(portrait: Path) -> Callable[..., Path]:
    """Writes a bag: the portrait on two cameras, depth, a CameraInfo and text."""
    picture = cv2.imread(str(portrait))[..., ::-1]

    def write(folder: Path, count: int = 3, plugin: StoragePlugin = StoragePlugin.MCAP) -> Path:
        text = T["std_msgs/msg/String"](data="between")
        sent: list[tuple[str, float, Any]] = [("/cam/camera_info", 1.0, info())]
        for i in range(count):
            image = raw(np.roll(picture, 2 * i, axis=1), 1.9 + 0.1 * i, "left")
            sent += [("/cam/image_raw", 2 + 0.1 * i, image), ("/notes", 2 + 0.1 * i, text)]
            if i % 2:
                sent += [("/rear/image", 2 + 0.1 * i, raw(picture, 7.0, "rear"))]
        return write_messages(folder, [*sent, ("/depth/image", 9.0, depth())], plugin)

    return write


def messages_of(folder: Path) -> list[tuple[str, int, bytes]]:
    with AnyReader([folder]) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


def contours_in(folder: Path, topic: str) -> list[tuple[int, Any]]:
    with AnyReader([folder]) as reader:
        wanted = [c for c in reader.connections if c.topic == topic]
        return [
            (time, reader.deserialize(data, c.msgtype))
            for c, time, data in reader.messages(connections=wanted)
        ]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_contours_stand_beside_all_that_the_bag_holds(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path, plugin: StoragePlugin
) -> None:
    bag = drive(tmp_path / "bag", 3, plugin)
    words = (bag, *FAST, "--write", "bag,jsonl", "--output", tmp_path / "out")
    reply = e2ec("predict", *words)
    assert reply.status == 0
    taken = f"bag {str(bag)!r}: /cam/image_raw is read, /rear/image left out"
    assert reply.error == f"predict: {taken}; choose with --topics"
    written = tmp_path / "out/bag_contours"
    assert sorted(p.suffix for p in written.iterdir()) == [".mcap", ".yaml"]
    every = messages_of(written)
    assert [m for m in every if m[0] != "/cam/e2ec/contours"] == messages_of(bag)
    found = contours_in(written, "/cam/e2ec/contours")
    assert [time for time, _ in found] == [2_000_000_000, 2_100_000_000, 2_200_000_000]
    lines = (tmp_path / "out/contours.jsonl").read_text().splitlines()
    for i, (line, (_, message)) in enumerate(zip(lines, found, strict=True)):
        row = json.loads(line)
        assert (row["source"], row["topic"], row["frame"]) == (str(bag), "/cam/image_raw", i)
        stamp = message.header.stamp
        assert row["stamp"] == stamp.sec * 10**9 + stamp.nanosec
        assert row["frame_id"] == message.header.frame_id == "left"
        assert (message.width, message.height, message.stage) == (256, 256, 2)
        (one, *_), (said, *_) = message.instances, row["instances"]
        assert (one.class_name, one.class_id) == ("person", 0)
        np.testing.assert_array_equal(one.contour, np.array(said["contour"], np.float32))
        assert np.float32(one.score) == np.float32(said["score"])
        assert one.track_id == -1


def test_several_topics_go_into_one_bag(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path
) -> None:
    bag = drive(tmp_path / "bag", 4)
    words = (bag, *FAST, "--write", "bag,video", "--output", tmp_path / "out")
    topics = "/rear/image,/cam/image_raw,/rear/image"
    reply = e2ec("predict", *words, "--topics", topics)
    assert (reply.status, reply.err) == (0, "")
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["bag_cam_image_raw.mp4", "bag_contours", "bag_rear_image.mp4"]
    written = tmp_path / "out/bag_contours"
    assert len(contours_in(written, "/cam/e2ec/contours")) == 4
    rear = contours_in(written, "/rear/e2ec/contours")
    assert [message.header.frame_id for _, message in rear] == ["rear", "rear"]
    reply = e2ec("predict", written, *FAST, "--write", "bag", "--output", tmp_path / "again")
    assert reply.status == 2
    assert "has a topic '/cam/e2ec/contours' already" in reply.err
    reply = e2ec("predict", bag, "--topics", "/none", "--output", tmp_path / "none")
    assert reply.status == 2
    assert "has no image topic '/none'" in reply.err


def test_an_image_that_cannot_be_read_costs_itself(
    e2ec: Callable, drive: Callable[..., Path], portrait: Path, tmp_path: Path
) -> None:
    picture = cv2.imread(str(portrait))[..., ::-1]
    broken = raw(picture, 2.1)
    broken.data = broken.data[:100]
    sent = [("/image", 2.0, raw(picture, 2.0)), ("/image", 2.1, broken)]
    bag = write_messages(tmp_path / "bag", [*sent, ("/image", 2.2, raw(picture, 2.2))])
    words = (bag, *FAST, "--write", "bag,video,jsonl", "--output", tmp_path / "out")
    reply = e2ec("predict", *words)
    assert reply.status == 1
    assert "image 1 of /image: image data is 100 bytes long" in reply.err
    assert f"1 of 1 left out: frames of {str(bag)!r}" in reply.err
    found = contours_in(tmp_path / "out/bag_contours", "/e2ec/contours")
    assert [time for time, _ in found] == [2_000_000_000, 2_200_000_000]
    assert len(messages_of(tmp_path / "out/bag_contours")) == 5
    assert cv2.VideoCapture(str(tmp_path / "out/bag.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    rows = [json.loads(line) for line in (tmp_path / "out/contours.jsonl").open()]
    assert ["error" in row for row in rows] == [False, True, False]
    assert [row["stamp"] for row in rows] == [2_000_000_000, 2_100_000_000, 2_200_000_000]
    assert {row["frame_id"] for row in rows} == {"bag_optical_frame"}


def old_bag(folder: Path, portrait: Path, change: str) -> bytes:
    """As Humble writes sqlite3, without hashes: an image and a number, which it returns."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg("float32 speed", "my_msgs/msg/Speed"))
    speed = bytes(types.serialize_cdr(types.types["my_msgs/msg/Speed"](3.5), "my_msgs/msg/Speed"))
    image = raw(cv2.imread(str(portrait))[..., ::-1], 2.0)
    picture = bytes(types.serialize_cdr(image, image.__msgtype__))
    sent = [("/speed", "my_msgs/msg/Speed", speed), ("/image", image.__msgtype__, picture)]
    with Writer(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for topic, kind, data in sent:
            writer.write(writer.add_connection(topic, kind, typestore=types), 10**9, data)
    with sqlite3.connect(next(folder.glob("*.db3"))) as database:
        database.execute(change)
        database.execute("UPDATE topics SET type_description_hash = ''")
    database.close()
    told, line = folder / "metadata.yaml", "type_description_hash: "
    told.write_text(re.sub(f"{line}.*", f"{line}''", told.read_text()))
    return speed


def test_a_type_of_which_an_old_bag_holds_no_definition_is_copied(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    bag = tmp_path / "bag"
    speed = old_bag(bag, portrait, "DELETE FROM message_definitions")
    reply = e2ec("predict", bag, *FAST, "--write", "bag", "--output", tmp_path / "out")
    assert reply.status == 0, reply.err
    written = tmp_path / "out/bag_contours"
    assert ("/speed", 10**9, speed) in messages_of(written)
    assert len(contours_in(written, "/e2ec/contours")) == 1
    assert contours_in(written, "/image")[0][1].width == 256


def test_a_bag_that_cannot_be_copied_costs_no_other_result(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    """A definition names a type that is nowhere."""
    bag = tmp_path / "bag"
    lacking = "SET encoded_message_definition = 'my_msgs/Wheel wheel'"
    old_bag(bag, portrait, f"UPDATE message_definitions {lacking} WHERE topic_type LIKE '%Speed'")
    words = (bag, *FAST, "--write", "bag,jsonl,video", "--output", tmp_path / "out")
    reply = e2ec("predict", *words)
    assert reply.status == 1
    first, last = reply.err.splitlines()
    assert first.startswith(f"predict: bag {str(bag)!r} cannot be copied: ")
    assert "my_msgs/msg/Wheel" in first
    assert last == f"predict: 1 of 1 left out: the copy of {str(bag)!r}"
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["bag.mp4", "contours.jsonl"]


def test_nothing_is_copied_of_a_bag_that_shows_nothing(e2ec: Callable, tmp_path: Path) -> None:
    sent = [("/image", 1.0 + i, compressed(b"\0\0\0\1g", "h264")) for i in range(3)]
    bag = write_messages(tmp_path / "bag", sent)
    words = (bag, *FAST, "--write", "bag,jsonl", "--output", tmp_path / "out")
    reply = e2ec("predict", *words)
    assert reply.status == 2
    assert f" and 2 more; no frame of {str(bag)!r} can be shown\n" in reply.err
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name[0] != "."] == ["contours.jsonl"]


def test_stamps_are_those_of_the_headers_and_unknown_where_those_are(tmp_path: Path) -> None:
    sent = [("/image", 4.0, raw(picture(1), 0.0)), ("/image", 5.0, b"\0\1\0\0torn")]
    bag = write_messages(tmp_path / "bag", sent)
    frames = list(frames_of(open_recording(bag, "", FULL), FULL))
    assert [(f.stamp, f.frame_id) for f in frames] == [(0, "bag_optical_frame"), (None, None)]


@pytest.mark.parametrize("closed", [True, False])
def test_parts_read_alone_give_what_one_reading_gives(tmp_path: Path, closed: bool) -> None:
    broken = raw(picture(1))
    broken.data = broken.data[:9]
    sent = [("/image", 1.0 + i, broken if i == 4 else raw(picture(i), 1.0 + i)) for i in range(7)]
    bag = write_messages(tmp_path / "bag", sent)
    if not closed:
        (file,) = bag.glob("*.mcap")
        file.write_bytes(file.read_bytes()[:-8])
        (bag / "metadata.yaml").unlink()
    recording = open_recording(bag, "", FULL)
    assert recording.length >= 7

    def told(begin: int, end: int) -> list[tuple[int, str, int | None]]:
        frames = frames_of(recording, FULL, begin)
        return [(f.index, f.error, f.stamp) for f in frames if f.index < end]

    whole = told(0, 99)
    assert [i for i, error, _ in whole if error] == ([4] if closed else [4, 7])
    assert len(whole) == 7 + (not closed)
    for middle in (4, 5, 6, 7):
        assert told(0, middle) + told(middle, 99) == whole
    assert told(9, 99) == []


def test_a_bag_without_room_for_contours_costs_its_copy(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path
) -> None:
    good, full = drive(tmp_path / "good", 1), tmp_path / "full"
    text = T["std_msgs/msg/String"](data="mine")
    write_messages(full, [("/e2ec/contours", 1.0, text), ("/image", 2.0, raw(picture(1)))])
    words = ("predict", good, full, *FAST, "--output")
    for write in ("bag,jsonl", "bag"):
        reply = e2ec(*words, tmp_path / write, "--write", write)
        assert reply.status == 1, reply.err
        said, last = reply.err.splitlines()
        assert "has a topic '/e2ec/contours' already" in said
        assert last == f"predict: 1 of 2 left out: the copy of {str(full)!r}"
        assert (tmp_path / write / "good_contours/metadata.yaml").is_file()
        assert not (tmp_path / write / "full_contours").exists()
    assert len((tmp_path / "bag,jsonl/contours.jsonl").read_text().splitlines()) == 2


def test_bags_that_predict_wrote_are_no_inputs(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bags"
    drive(folder / "drive", 1)
    words = ("predict", folder, *FAST, "--write", "bag", "--output", folder)
    assert e2ec(*words).status == 0
    before = messages_of(folder / "drive_contours")
    reply = e2ec(*words, "--overwrite")
    assert reply.status == 0
    assert "drive_contours' is a result of predict, so it is passed over" in reply.error
    assert messages_of(folder / "drive_contours") == before
    own = drive(tmp_path / "own/drive_contours", 1)
    drive(own.parent / "drive", 1)
    reply = e2ec("predict", own.parent, *FAST, "--write", "bag", "--output", own.parent)
    assert (reply.status, "drive_contours' exists" in reply.err) == (2, True)


def test_results_have_names_that_a_disk_takes(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, result in (("é" * 125, "é" * 115), ("here", "here")):
        bag = drive(tmp_path / name, 1)
        monkeypatch.chdir(bag)
        words = (".", *FAST, "--write", "bag,labels", "--output", tmp_path / "out")
        reply = e2ec("predict", *words)
        assert reply.status == 0, reply.err
        assert (tmp_path / f"out/{result}_contours/metadata.yaml").is_file()
        assert (tmp_path / f"out/labels/{result}/000000.png").is_file()


def test_bags_are_replaced_on_request_only(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path
) -> None:
    bag = drive(tmp_path / "bag", 1)
    words = (bag, *FAST, "--write", "bag", "--output", tmp_path / "out")
    assert e2ec("predict", *words).status == 0
    before = messages_of(tmp_path / "out/bag_contours")
    reply = e2ec("predict", *words)
    assert (reply.status, "exists; give --overwrite" in reply.error) == (2, True)
    assert e2ec("predict", *words, "--overwrite").status == 0
    assert messages_of(tmp_path / "out/bag_contours") == before
    (tmp_path / "out/bag_contours/metadata.yaml").unlink()
    reply = e2ec("predict", *words, "--overwrite")
    assert (reply.status, "is no bag, so it is not replaced" in reply.error) == (2, True)
    (tmp_path / "file").mkdir()
    (tmp_path / "file/bag_contours").touch()
    reply = e2ec("predict", *words[:-1], tmp_path / "file", "--overwrite")
    assert (reply.status, "is a file where a folder goes" in reply.error) == (2, True)


def test_a_folder_of_bags_gives_each_of_them(
    e2ec: Callable, drive: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("b10", "b9"):
        drive(tmp_path / "drives" / name, 1)
    words = (tmp_path / "drives", *FAST, "--write", "jsonl", "--output", tmp_path / "out")
    assert e2ec("predict", *words).status == 0
    rows = [json.loads(line) for line in (tmp_path / "out/contours.jsonl").open()]
    assert [Path(row["source"]).name for row in rows] == ["b9", "b10"]


def test_the_header_of_a_message_is_that_of_its_image() -> None:
    from e2ec_core.contours import Contours
    from e2ec_core.recordings.contour_bag import BagModel, contour_message, contour_types

    nothing = Contours(
        vertices=np.zeros((0, 0, 2), np.float32),
        scores=np.zeros(0, np.float32),
        class_ids=np.zeros(0, np.int64),
        stage="coarse",
        image_size=(3, 5),
    )
    model = BagModel(name="m", class_names=("a",), amodal=False)
    message = contour_message(contour_types(), nothing, model, header(1.5, "left"))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    assert (message.header.frame_id, message.stage, message.instances) == ("left", 1, [])
