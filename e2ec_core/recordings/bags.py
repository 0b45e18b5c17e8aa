"""Recordings of ROS 2 (sqlite3, MCAP) and ROS 1, read without a ROS by the package rosbags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2ec_core.image_messages import RgbImage, to_rgb
from e2ec_core.recordings.bag_files import open_reader
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
from e2ec_core.value_range import ValueRange

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader


@dataclass(frozen=True, kw_only=True)
class BagImage:
    """An image of a bag.

    Attributes:
        rgb: uint8 [height, width, 3].
        stamp: of its header, ns.
        received: when it was recorded, ns.
        frame_id: of its header.
        camera_info: the latest CameraInfo beside it; None without one.
    """

    rgb: RgbImage
    stamp: int
    received: int
    frame_id: str
    camera_info: Any


class BadImage(ValueError):
    """An image that cannot be read; `stamp` and `frame_id` as far as its header can be."""

    stamp: int | None = None
    frame_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bag:
    """A bag of which one image topic is read.

    Attributes:
        path: a folder or a file.
        topic: the image topic.
        encoding: what its messages say of their pixels.
        note: what people should know of the rest, for a line about the bag; may be empty.
        others: the other image topics that could be read.
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
    others: tuple[str, ...]
    rate: float | None
    length: int | None
    info_topic: str
    first_info: Any
    values: ValueRange

    def images(self, begin: int = 0) -> Iterator[BagImage | ValueError]:
        """Gives the images from number `begin` on, in the order in which they were received.

        In place of an image that cannot be read comes the BadImage that names it; at the end
        comes one that says what is lost, and why.
        """
        reader, faults, counts = open_reader(self.path)
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
                    faults = [*faults, f"bag {str(self.path)!r} breaks off: {one_line(error)}"]
                    break
                if connection.msgtype == INFO_TYPE:
                    info = _read_info(reader, data) or info
                    continue
                if index >= begin:
                    message: Any = None
                    try:
                        message = reader.deserialize(data, connection.msgtype)
                        yield BagImage(
                            rgb=to_rgb(message, self.values),
                            stamp=stamp_of(message),
                            received=received,
                            frame_id=message.header.frame_id,
                            camera_info=info,
                        )
                    except Exception as error:
                        bad = BadImage(f"image {index} of {self.topic}: {one_line(error)}")
                        if message is not None:
                            bad.stamp, bad.frame_id = stamp_of(message), message.header.frame_id
                        yield bad
                index += 1
        recorded = counts.get(self.topic)
        if index < begin or index == recorded:  # somebody else has told, or nothing is lost
            return
        if recorded and index < recorded and not faults:
            faults = [f"bag {str(self.path)!r} holds less than its recorder counted"]
        if faults:
            of = f" of {recorded}" if recorded else ""
            yield ValueError(f"{'; '.join(faults)}; {index}{of} images of {self.topic} are there")


def open_bag(path: Path, topic: str, values: ValueRange) -> Bag:
    """Opens a bag and chooses what to read of it.

    Args:
        path: a folder or a file.
        topic: image topic; empty for the first that can be shown, colour before grey.
        values: how 16-bit images are shown.

    Raises:
        ValueError: the bag cannot be read, or has no such topic with images.
    """
    reader, faults, _ = open_reader(path)
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
    note += "".join(f"; {fault}" for fault in faults)
    return Bag(
        path=path,
        topic=chosen.name,
        encoding=chosen.encoding,
        note=note,
        others=tuple(t.name for t in topics if t is not chosen and t.rank is not None),
        rate=rate,
        length=sum(c.msgcount for c in images) or None,
        info_topic=info_topic,
        first_info=first_info,
        values=values,
    )


def _read_info(reader: AnyReader, data: bytes) -> Any:
    """A CameraInfo; None if it is broken."""
    try:
        return reader.deserialize(data, INFO_TYPE)
    except Exception:
        return None
