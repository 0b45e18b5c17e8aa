"""Bags of which a file is missing, damaged or not closed: what is there is read, the rest told."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="no rosbags: pip install rosbags")

from ros_bags import STORE, picture, raw, write_bag, write_messages
from rosbags.rosbag2 import StoragePlugin
from ruamel.yaml import YAML

from e2ec_core.recordings.bags import BagImage, open_bag
from e2ec_core.value_range import FULL


def split_bag(folder: Path, parts: int = 3, each: int = 10, height: int = 32) -> list[Path]:
    """A bag of several MCAP files as rosbag2 writes it; returns the files."""
    files = []
    yaml = YAML(typ="safe")
    for part in range(parts):
        numbers = range(part * each, (part + 1) * each)
        sent = [
            ("/cam/image", 1 + i / 10, raw(picture(i, height, 480), 1 + i / 10)) for i in numbers
        ]
        one = write_messages(folder.parent / f"{folder.name}_{part}", sent)
        (file,) = one.glob("*.mcap")
        folder.mkdir(exist_ok=True)
        files.append(file.rename(folder / file.name))
        told = yaml.load((one / "metadata.yaml").read_text())
    about = told["rosbag2_bagfile_information"]
    about["relative_file_paths"] = [file.name for file in files]
    about["message_count"] = parts * each
    about["topics_with_message_count"][0]["message_count"] = parts * each
    with (folder / "metadata.yaml").open("w") as stream:
        yaml.dump(told, stream)
    return files


def read(path: Path) -> tuple[list[BagImage], list[str], str]:
    """The images of a bag, its errors, and its note."""
    bag = open_bag(path, "", FULL)
    items = list(bag.images())
    images = [item for item in items if isinstance(item, BagImage)]
    return images, [str(item) for item in items if isinstance(item, ValueError)], bag.note


def numbers(images: list[BagImage]) -> list[int]:
    return [round(image.stamp / 1e8) - 10 for image in images]


def test_a_whole_split_bag_has_no_errors(tmp_path: Path) -> None:
    split_bag(tmp_path / "bag")
    images, errors, note = read(tmp_path / "bag")
    assert (numbers(images), errors, note) == (list(range(30)), [], "")


def test_a_missing_file_is_named_with_what_it_costs(tmp_path: Path) -> None:
    gone = split_bag(tmp_path / "bag")[1]
    gone.unlink()
    images, errors, note = read(tmp_path / "bag")
    assert numbers(images) == [*range(10), *range(20, 30)]
    assert errors == [f"{str(gone)!r} is missing; 20 of 30 images of /cam/image are there"]
    assert f"{str(gone)!r} is missing" in note


def test_damage_in_the_middle_file_is_told_as_such(tmp_path: Path) -> None:
    damaged = split_bag(tmp_path / "bag", height=320)[1]
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 3])
    images, (error,), _ = read(tmp_path / "bag")
    there = numbers(images)
    assert there[:10] == list(range(10))
    assert there[-10:] == list(range(20, 30))
    assert 20 < len(there) < 30
    assert error.startswith(f"{str(damaged)!r} was not closed, so its last messages are lost; ")
    assert error.endswith(f"; {len(there)} of 30 images of /cam/image are there")


def test_files_that_were_renamed_lose_nothing(tmp_path: Path) -> None:
    (file, *_) = split_bag(tmp_path / "bag", parts=1)
    file.rename(file.with_name("renamed.mcap"))
    images, errors, _ = read(tmp_path / "bag")
    assert (numbers(images), errors) == (list(range(10)), [])


def test_fewer_messages_than_the_recorder_counted_are_told(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", StoragePlugin.SQLITE3, 5)
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM messages WHERE timestamp >= 2300000000")
    database.close()
    images, errors, _ = read(bag)
    assert len(images) == 3
    wanted = f"bag {str(bag)!r} holds less than its recorder counted; 3 of 5 images of /cam/image"
    assert errors == [f"{wanted} are there"]


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_what_sqlite_has_in_its_log_is_read(tmp_path: Path, mode: str) -> None:
    """A recorder that was killed leaves messages in the log, or half a write to undo."""
    whole = write_bag(tmp_path / "whole", StoragePlugin.SQLITE3, 10)
    (file,) = whole.glob("*.db3")
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("PRAGMA cache_spill = 1")
    database.execute("PRAGMA cache_size = 1")
    ((topic,),) = database.execute("SELECT id FROM topics WHERE name = '/cam/image'")
    database.execute("BEGIN")
    for i in range(10, 20):
        message = raw(picture(i), 2 + 0.1 * i)
        data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        row = (topic, int((2 + 0.1 * i) * 1e9), data)
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    if mode == "WAL":
        database.execute("COMMIT")
    bag = tmp_path / "bag"
    bag.mkdir()
    for one in whole.iterdir():
        if one.suffix in (".db3", ".db3-wal", ".db3-journal", ".yaml"):
            shutil.copy(one, bag / one.name.replace(file.stem, "bag"))
    database.close()
    (bag / "metadata.yaml").unlink()
    before = {one.name: one.read_bytes() for one in bag.iterdir()}
    assert len(before) == 2
    count = 20 if mode == "WAL" else 10
    for path in (bag, bag / "bag.db3"):
        images, errors, _ = read(path)
        assert (len(images), errors) == (count, [])
        np.testing.assert_array_equal(images[-1].rgb, picture(count - 1))
    assert {one.name: one.read_bytes() for one in bag.iterdir()} == before
