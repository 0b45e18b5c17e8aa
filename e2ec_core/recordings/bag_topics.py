"""Which image topic of a bag is read, and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from e2ec_core.image_messages import is_depth, to_rgb
from e2ec_core.value_range import ValueRange

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

Message = Any  # of whatever type the bag holds

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
LOOKED_AT = 3  # messages of a topic that tell what it holds
TIMED = 20  # messages that tell its rate
SLOWEST, FASTEST = 0.01, 1000.0  # Hz


@dataclass(frozen=True, kw_only=True)
class ImageTopic:
    """An image topic: its name, what it holds, and its rank as the one to play, None for never."""

    name: str
    encoding: str
    rank: int | None


def image_topics(reader: AnyReader) -> list[str]:
    """The names of a bag's image topics."""
    return list(dict.fromkeys(c.topic for c in reader.connections if c.msgtype in IMAGE_TYPES))


def messages(reader: AnyReader, topic: str, kinds: tuple[str, ...]) -> Iterator[tuple[int, Any]]:
    """Receive stamps, ns, and messages of one topic; the broken ones as ValueErrors."""
    wanted = [c for c in reader.connections if c.topic == topic and c.msgtype in kinds]
    for connection, received, data in reader.messages(connections=wanted) if wanted else ():
        try:
            yield received, reader.deserialize(data, connection.msgtype)
        except Exception as error:
            yield received, ValueError(one_line(error))


def look_at(reader: AnyReader, topic: str, values: ValueRange) -> ImageTopic:
    """Finds out what a topic holds from its first messages."""
    encoding, rank = "no image", None
    for _, message in islice(messages(reader, topic, IMAGE_TYPES), LOOKED_AT):
        if isinstance(message, ValueError):
            encoding, rank = "unreadable", 3
            continue
        encoding = getattr(message, "encoding", "") or getattr(message, "format", "")
        rank = 3  # perhaps readable further on
        if is_depth(message, values):
            return ImageTopic(name=topic, encoding=f"{encoding}, depth", rank=None)
        with suppress(ValueError):
            return ImageTopic(name=topic, encoding=encoding, rank=_rank(message, encoding, values))
    return ImageTopic(name=topic, encoding=encoding, rank=rank)


def _rank(message: Message, encoding: str, values: ValueRange) -> int:
    """0 for colour, 1 for grey (infrared, masks), 2 for 16-bit grey, which might be depth.

    Raises:
        ValueError: the image cannot be read.
    """
    rgb = to_rgb(message, values)
    if encoding.startswith(("mono16", "16UC1")):
        return 2
    if hasattr(message, "encoding"):
        return int(encoding in ("mono8", "8UC1"))
    return int((rgb == rgb[..., :1]).all())


def choose(path: Path, reader: AnyReader, topics: list[ImageTopic], wanted: str) -> ImageTopic:
    bag = f"bag {str(path)!r}"
    held = ", ".join(f"{t.name} ({t.encoding})" for t in topics)
    if not topics:
        raise ValueError(f"{bag} has no topic of {' or '.join(IMAGE_TYPES)}")
    named = [t for t in topics if t.name == wanted]
    if wanted and not named:
        kinds = {c.msgtype for c in reader.connections if c.topic == wanted}
        kind = f" ({wanted} is of {', '.join(sorted(kinds))})" if kinds else ""
        raise ValueError(f"{bag} has no image topic {wanted!r}{kind}; it has {held}")
    shown = sorted(
        (t for t in named or topics if t.rank is not None), key=lambda topic: topic.rank or 0
    )
    if shown:
        return shown[0]
    if all(t.encoding == "no image" for t in named or topics):
        raise ValueError(f"{bag} has no image on {wanted or held}")
    raise ValueError(
        f"{bag} has no colour on {wanted or 'any topic'}, only {held}; if 16UC1 is a thermal or "
        "grey picture there, set range, e.g. auto"
    )


def camera_info(reader: AnyReader, topic: str) -> tuple[str, Any]:
    """The CameraInfo topic of an image topic and its first message; ("", None) without one.

    It is the one beside the images. Where there is none, one from the same frame counts, if only
    one is.
    """
    beside = f"{topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"
    found = {}
    for name in dict.fromkeys(c.topic for c in reader.connections if c.msgtype == INFO_TYPE):
        for _, message in islice(messages(reader, name, (INFO_TYPE,)), 1):
            if not isinstance(message, ValueError):
                found[name] = message
    if beside in found:
        return beside, found[beside]
    frames = (
        m.header.frame_id
        for _, m in islice(messages(reader, topic, IMAGE_TYPES), LOOKED_AT)
        if not isinstance(m, ValueError)
    )
    frame = next(frames, "").lstrip("/")
    same = [name for name, m in found.items() if frame and m.header.frame_id.lstrip("/") == frame]
    return (same[0], found[same[0]]) if len(same) == 1 else ("", None)


def image_rate(reader: AnyReader, topic: str) -> float | None:
    """Images per second, from the first stamps of the topic; pauses do not count.

    None if the stamps do not tell.
    """
    first = list(islice(messages(reader, topic, IMAGE_TYPES), TIMED))
    own = [stamp_of(m) for _, m in first if not isinstance(m, ValueError)]
    for stamps in (own, [received for received, _ in first]):
        intervals = np.diff(np.array(stamps, np.int64)) / 1e9
        if len(intervals) and (intervals > 0).all():
            return min(max(1.0 / float(median(intervals.tolist())), SLOWEST), FASTEST)
    return None


def stamp_of(message: Message) -> int:
    """The header's stamp, ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
