"""Recordings of ROS 2 (sqlite3, MCAP) and ROS 1, read without a ROS. Needs no rclpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shlex import quote
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from e2ec_core.image_files import natural_key
from e2ec_core.value_range import ValueRange
from e2ec_ros.images import is_depth, to_rgb
from e2ec_ros.playback.source_types import FASTEST, STILL_RATE, Source, SourceImage
from e2ec_ros.playback.unclosed_mcap import UnclosedMcap, is_unclosed

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

Message = Any  # of whatever type the bag holds

BAG_ENDINGS = frozenset({".mcap", ".db3", ".bag"})
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
LOOKED_AT = 3  # messages of a topic that tell what it holds
TIMED = 20  # messages that tell its rate
SLOWEST = 0.01  # Hz


@dataclass(frozen=True, kw_only=True)
class _Topic:
    """An image topic: its name, what it holds, and its rank as the one to play, None for never."""

    name: str
    encoding: str
    rank: int | None


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, or a folder that holds some."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_bag_files(path))
    return path.suffix.lower() in BAG_ENDINGS


def open_bag(path: Path, topic: str, values: ValueRange) -> Source:
    """Opens a bag and chooses what to play of it.

    Args:
        path: a folder or a file.
        topic: image topic; empty for the first that can be shown, colour before grey.
        values: how 16-bit images are shown.

    Raises:
        ValueError: the bag cannot be read, or has no such topic with images.
    """
    reader, unclosed, faults = _open_reader(path)
    try:
        with closing(reader):
            topics = [_look_at(reader, name, values) for name in _image_topics(reader)]
            chosen = _choose(path, reader, topics, topic)
            images = [c for c in reader.connections if c.topic == chosen.name]
            info_topic, first_info = _camera_info(reader, chosen.name)
            rate = _rate(reader, chosen.name)
    except ValueError:
        raise
    except Exception as error:  # rosbags raises types of every storage and of its own
        raise ValueError(f"bag {str(path)!r} cannot be read: {_one_line(error)}") from error
    others = ", ".join(f"{t.name} ({t.encoding})" for t in topics if t is not chosen)
    note = f"; other image topics: {others}" if others else ""
    if unclosed:
        note += "; it was not closed, so its last messages may be missing"
    note += "".join(f"; {fault}" for fault in faults)
    return Source(
        description=f"bag {path}, {chosen.name} ({chosen.encoding}){note}",
        rate=rate,
        length=sum(c.msgcount for c in images) or None,
        images=lambda: _images(path, chosen.name, info_topic, first_info, values),
    )


def _bag_files(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in BAG_ENDINGS and f.name[0] != ".")
    return sorted(files, key=natural_key)


def _open_reader(path: Path) -> tuple[AnyReader, bool, list[str]]:
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
        reason = f"bag {str(path)!r} cannot be read: {_one_line(error)}"
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
            faults.append(f"{str(file)!r} cannot be read: {_one_line(error)}{_remedy(file)}")
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


def _image_topics(reader: AnyReader) -> list[str]:
    return list(dict.fromkeys(c.topic for c in reader.connections if c.msgtype in IMAGE_TYPES))


def _messages(reader: AnyReader, topic: str, kinds: tuple[str, ...]) -> Iterator[tuple[int, Any]]:
    """Receive stamps, ns, and messages of one topic; the broken ones as ValueErrors."""
    wanted = [c for c in reader.connections if c.topic == topic and c.msgtype in kinds]
    for connection, received, data in reader.messages(connections=wanted) if wanted else ():
        try:
            yield received, reader.deserialize(data, connection.msgtype)
        except Exception as error:
            yield received, ValueError(_one_line(error))


def _look_at(reader: AnyReader, topic: str, values: ValueRange) -> _Topic:
    """Finds out what a topic holds from its first messages."""
    encoding, rank = "no image", None
    for _, message in islice(_messages(reader, topic, IMAGE_TYPES), LOOKED_AT):
        if isinstance(message, ValueError):
            encoding, rank = "unreadable", 3
            continue
        encoding = getattr(message, "encoding", "") or getattr(message, "format", "")
        rank = 3  # perhaps readable further on
        if is_depth(message, values):
            return _Topic(name=topic, encoding=f"{encoding}, depth", rank=None)
        with suppress(ValueError):
            return _Topic(name=topic, encoding=encoding, rank=_rank(message, encoding, values))
    return _Topic(name=topic, encoding=encoding, rank=rank)


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


def _choose(path: Path, reader: AnyReader, topics: list[_Topic], wanted: str) -> _Topic:
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


def _camera_info(reader: AnyReader, topic: str) -> tuple[str, Any]:
    """The CameraInfo topic of an image topic and its first message; ("", None) without one.

    It is the one beside the images. Where there is none, one from the same frame counts, if only
    one is.
    """
    beside = f"{topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"
    found = {}
    for name in dict.fromkeys(c.topic for c in reader.connections if c.msgtype == INFO_TYPE):
        for _, message in islice(_messages(reader, name, (INFO_TYPE,)), 1):
            if not isinstance(message, ValueError):
                found[name] = message
    if beside in found:
        return beside, found[beside]
    frames = (
        m.header.frame_id
        for _, m in islice(_messages(reader, topic, IMAGE_TYPES), LOOKED_AT)
        if not isinstance(m, ValueError)
    )
    frame = next(frames, "").lstrip("/")
    same = [name for name, m in found.items() if frame and m.header.frame_id.lstrip("/") == frame]
    return (same[0], found[same[0]]) if len(same) == 1 else ("", None)


def _rate(reader: AnyReader, topic: str) -> float:
    """Images per second, from the first stamps of the topic; pauses do not count."""
    first = list(islice(_messages(reader, topic, IMAGE_TYPES), TIMED))
    own = [_stamp(m) for _, m in first if not isinstance(m, ValueError)]
    for stamps in (own, [received for received, _ in first]):
        intervals = np.diff(np.array(stamps, np.int64)) / 1e9
        if len(intervals) and (intervals > 0).all():
            return min(max(1.0 / float(median(intervals.tolist())), SLOWEST), FASTEST)
    return STILL_RATE


def _images(
    path: Path,
    topic: str,
    info_topic: str,
    info: Message,
    values: ValueRange,
) -> Iterator[SourceImage | ValueError]:
    """The images of one topic, each with the latest CameraInfo beside it."""
    reader, unclosed, faults = _open_reader(path)
    index = 0
    with closing(reader):
        wanted = [
            c
            for c in reader.connections
            if (c.topic == topic and c.msgtype in IMAGE_TYPES)
            or (c.topic == info_topic and c.msgtype == INFO_TYPE)
        ]
        messages = reader.messages(connections=wanted)
        while True:
            try:
                connection, received, data = next(messages)
            except StopIteration:
                break
            except Exception as error:
                yield ValueError(
                    f"bag {str(path)!r} ends after {index} images: {_one_line(error)}"
                )
                return
            try:
                message: Any = reader.deserialize(data, connection.msgtype)
                if connection.msgtype == INFO_TYPE:
                    info = message
                    continue
                yield SourceImage(
                    rgb=to_rgb(message, values),
                    name=f"{path.stem}_{index:05d}",
                    frame_id=message.header.frame_id,
                    camera_info=info,
                    stamp=_stamp(message) or received,
                )
            except Exception as error:
                if connection.msgtype != INFO_TYPE:
                    yield ValueError(f"image {index} of {topic}: {_one_line(error)}")
            index += connection.msgtype != INFO_TYPE
    if unclosed:
        yield ValueError(f"bag {str(path)!r} was not closed; what followed image {index} is lost")
    yield from map(ValueError, faults)


def _stamp(message: Message) -> int:
    """The header's stamp, ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__  # some span lines
