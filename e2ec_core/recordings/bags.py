"""Recordings of ROS 2 (sqlite3, MCAP) and ROS 1, read without a ROS by the package rosbags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from e2ec_core.image_files import natural_key
from e2ec_core.image_messages import RgbImage, to_rgb
from e2ec_core.recordings.bag_topics import (
    IMAGE_TYPES,
    INFO_TYPE,
    camera_info,
    choose,
    image_rate,
    image_topics,
    look_at,
    one_line,
    stamp_of,
)
from e2ec_core.recordings.unclosed_mcap import UnclosedMcap, is_unclosed
from e2ec_core.value_range import ValueRange

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

BAG_ENDINGS = frozenset({".mcap", ".db3", ".bag"})


@dataclass(frozen=True, kw_only=True)
class BagImage:
    """An image of a bag.

    Attributes:
        rgb: uint8 [height, width, 3].
        stamp: of its header, or when it was received if that is zero, ns.
        frame_id: of its header.
        camera_info: the latest CameraInfo beside it; None without one.
    """

    rgb: RgbImage
    stamp: int
    frame_id: str
    camera_info: Any


@dataclass(frozen=True, kw_only=True)
class Bag:
    """A bag of which one image topic is read.

    Attributes:
        path: a folder or a file.
        topic: the image topic.
        encoding: what its messages say of their pixels.
        note: what people should know of the rest, for a line about the bag; may be empty.
        rate: images per second; None if the stamps do not tell.
        length: number of image messages; None if unknown.
        info_topic: of the CameraInfo beside the images; empty without one.
        first_info: its first message; None without one.
        values: how 16-bit images are shown.
    """

    path: Path
    topic: str
    encoding: str
    note: str
    rate: float | None
    length: int | None
    info_topic: str
    first_info: Any
    values: ValueRange

    def images(self, begin: int = 0) -> Iterator[BagImage | ValueError]:
        """Gives the images from number `begin` on, in the order in which they were received.

        In place of an image that cannot be read comes the ValueError that names it; at the end
        come ValueErrors about what is lost behind it.
        """
        reader, unclosed, faults = open_reader(self.path)
        index, info = 0, self.first_info
        with closing(reader):
            wanted = [
                c
                for c in reader.connections
                if (c.topic == self.topic and c.msgtype in IMAGE_TYPES)
                or (c.topic == self.info_topic and c.msgtype == INFO_TYPE)
            ]
            messages = reader.messages(connections=wanted)
            while True:
                try:
                    connection, received, data = next(messages)
                except StopIteration:
                    break
                except Exception as error:
                    faults = [
                        f"bag {str(self.path)!r} ends after {index} images: {one_line(error)}"
                    ]
                    unclosed = False
                    break
                if connection.msgtype == INFO_TYPE:
                    info = _read_info(reader, data) or info
                    continue
                if index >= begin:
                    try:
                        message: Any = reader.deserialize(data, connection.msgtype)
                        yield BagImage(
                            rgb=to_rgb(message, self.values),
                            stamp=stamp_of(message) or received,
                            frame_id=message.header.frame_id,
                            camera_info=info,
                        )
                    except Exception as error:
                        yield ValueError(f"image {index} of {self.topic}: {one_line(error)}")
                index += 1
        if index < begin:  # somebody else has told
            return
        if unclosed:
            lost = f"bag {str(self.path)!r} was not closed; what followed image {index} is lost"
            yield ValueError(lost)
        yield from map(ValueError, faults)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, or a folder that holds some."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_bag_files(path))
    return path.suffix.lower() in BAG_ENDINGS


def open_bag(path: Path, topic: str, values: ValueRange) -> Bag:
    """Opens a bag and chooses what to read of it.

    Args:
        path: a folder or a file.
        topic: image topic; empty for the first that can be shown, colour before grey.
        values: how 16-bit images are shown.

    Raises:
        ValueError: the bag cannot be read, or has no such topic with images.
    """
    reader, unclosed, faults = open_reader(path)
    try:
        with closing(reader):
            topics = [look_at(reader, name, values) for name in image_topics(reader)]
            chosen = choose(path, reader, topics, topic)
            images = [c for c in reader.connections if c.topic == chosen.name]
            info_topic, first_info = camera_info(reader, chosen.name)
            rate = image_rate(reader, chosen.name)
    except ValueError:
        raise
    except Exception as error:  # rosbags raises types of every storage and of its own
        raise ValueError(f"bag {str(path)!r} cannot be read: {one_line(error)}") from error
    others = ", ".join(f"{t.name} ({t.encoding})" for t in topics if t is not chosen)
    note = f"; other image topics: {others}" if others else ""
    if unclosed:
        note += "; it was not closed, so its last messages may be missing"
    note += "".join(f"; {fault}" for fault in faults)
    return Bag(
        path=path,
        topic=chosen.name,
        encoding=chosen.encoding,
        note=note,
        rate=rate,
        length=sum(c.msgcount for c in images) or None,
        info_topic=info_topic,
        first_info=first_info,
        values=values,
    )


def _bag_files(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in BAG_ENDINGS and f.name[0] != ".")
    return sorted(files, key=natural_key)


def open_reader(path: Path) -> tuple[AnyReader, bool, list[str]]:
    """Opens a bag.

    Returns:
        its reader, whether its recorder left it without an end, and what is wrong with files of
        it that cannot be read.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ValueError("reading bags needs rosbags: pip install rosbags") from error
    types = get_typestore(Stores.LATEST)  # for bags that hold no definitions

    def opened(paths: list[Path]) -> AnyReader:
        reader = AnyReader(paths, default_typestore=types)
        reader.open()
        return reader

    try:
        whole = path.is_file() or (path / "metadata.yaml").is_file()
        return opened([path] if whole else _bag_files(path)), False, []
    except Exception as error:
        reason = f"bag {str(path)!r} cannot be read: {one_line(error)}"
    # Without its metadata.yaml, and the files as far as they go.
    files, faults, unclosed = [], [], False
    for file in [path] if path.is_file() else _bag_files(path):
        try:
            ended = not is_unclosed(file)
            files.append(file if ended else UnclosedMcap(file))
            opened(files[-1:]).close()
            unclosed |= not ended
        except Exception as error:
            files = files[:-1]
            faults.append(f"{str(file)!r} cannot be read: {one_line(error)}{_remedy(file)}")
    if not files:
        raise ValueError(faults[0] if faults else reason)
    return opened(files), unclosed, faults


def _remedy(file: Path) -> str:
    """What to do about a file that cannot be read."""
    if file.suffix != ".db3":
        return ""
    mended = file.with_name(f"{file.stem}_mended.db3")
    command = f"sqlite3 {quote(str(file))} .recover | sqlite3 {quote(str(mended))}"
    return f"; copy it again, or try: {command}"


def _read_info(reader: AnyReader, data: bytes) -> Any:
    """A CameraInfo; None if it is broken."""
    try:
        return reader.deserialize(data, INFO_TYPE)
    except Exception:
        return None
