"""A copy of a bag with the contours of its images beside them, as the node would have them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from e2ec_core.contours import STAGES, Contours
from e2ec_core.message_fields import instance_fields
from e2ec_core.recordings.bag_files import open_reader
from e2ec_core.recordings.bag_topics import IMAGE_TYPES, one_line

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

CONTOURS_TYPE = "e2ec_ros/msg/InstanceContourArray"
_DEFINITIONS = ("InferenceTiming", "InstanceContour", "InstanceContourArray")
_TIMES = ("queue", "preprocess", "inference", "postprocess", "total")
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class BagModel:
    """What the messages say of the model.

    Attributes:
        name: name of the checkpoint.
        class_names: name of each class id.
        amodal: whether contours include occluded parts.
    """

    name: str
    class_names: Sequence[str]
    amodal: bool


class BagNotWritten(Exception):
    """A bag with contours cannot be made of what another bag holds.

    Args:
        source: the other bag.
        why: what is wrong, in a few words.
    """

    def __init__(self, source: Path, why: str) -> None:
        super().__init__(f"bag {str(source)!r} cannot be copied: {why}")
        self.source = source


def contours_topic(image_topic: str) -> str:
    """Where a node in the namespace of an image topic publishes its contours."""
    base = image_topic.removesuffix("/compressed")
    return f"{base.rsplit('/', 1)[0]}/e2ec/contours"


def require_room(path: Path, image_topics: Sequence[str]) -> None:
    """Raises ValueError where contours cannot stand beside the topics of a bag."""
    reader = open_reader(path).reader
    with closing(reader):
        if not reader.is2:
            raise ValueError(
                f"bag {str(path)!r} is of ROS 1, contours are written beside topics of ROS 2: "
                f"rosbags-convert --src {path} --dst {path.stem} first"
            )
        present = {connection.topic for connection in reader.connections}
    targets = [contours_topic(topic) for topic in image_topics]
    for target in targets:
        if target in present:
            raise ValueError(
                f"bag {str(path)!r} has a topic {target!r} already; record or filter it without"
            )
        if targets.count(target) > 1:
            raise ValueError(
                f"topics {', '.join(image_topics)} of bag {str(path)!r} have one namespace, so "
                f"their contours would share {target!r}; give one of them"
            )


def contour_types() -> Typestore:
    """The messages of ROS 2 and those of `e2ec_ros`, read from their definitions."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.LATEST)
    for name in _DEFINITIONS:
        text = _definition(name).read_text()
        types.register(get_types_from_msg(text, f"e2ec_ros/msg/{name}"))
    return types


def write_contour_bag(
    source: Path, folder: Path, found: Mapping[str, Iterator[Contours | None]], model: BagModel
) -> None:
    """Writes an MCAP bag: all messages of another one, and contours behind their images.

    Topics whose type is unknown (bags of Humble and older hold no definitions) are copied with an
    empty definition.
    Durations in the messages are 0, the delay is NaN, so that equal input gives equal bags.

    Args:
        source: the bag to copy, of ROS 2.
        folder: the bag to write; must not exist.
        found: contours of each image by image topic, in order; None: no message for this image.
        model: what the messages say of the model.

    Raises:
        OSError: it cannot be written.
        BagNotWritten: it cannot be made of what the other one holds.
    """
    try:
        _write(source, folder, found, model)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # rosbags raises types of every storage and of its own
        raise BagNotWritten(source, one_line(error)) from error


def _write(
    source: Path, folder: Path, found: Mapping[str, Iterator[Contours | None]], model: BagModel
) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    types = contour_types()
    reader = open_reader(source).reader
    with (
        closing(reader),
        Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        copies = _announce(reader, writer)
        outputs = {
            topic: writer.add_connection(contours_topic(topic), CONTOURS_TYPE, typestore=types)
            for topic in found
        }
        for connection, received, data in _messages(reader):
            writer.write(copies[_key(connection)], received, data)
            if connection.topic not in found or connection.msgtype not in IMAGE_TYPES:
                continue
            contours = next(found[connection.topic], None)
            if contours is not None:
                image: Any = reader.deserialize(data, connection.msgtype)
                message = contour_message(types, contours, model, image.header)
                cdr = types.serialize_cdr(message, CONTOURS_TYPE)
                writer.write(outputs[connection.topic], received, cdr)


def contour_message(types: Typestore, contours: Contours, model: BagModel, header: Any) -> Any:
    """An `InstanceContourArray` of `contour_types`, with the stamp and frame of a header."""
    made = types.types
    height, width = contours.image_size
    stamp = made["builtin_interfaces/msg/Time"](sec=header.stamp.sec, nanosec=header.stamp.nanosec)
    timing = made["e2ec_ros/msg/InferenceTiming"](
        **dict.fromkeys(_TIMES, 0.0), pipeline=math.nan, dropped=0
    )
    instances = [
        made["e2ec_ros/msg/InstanceContour"](
            **fields | {n: np.ravel(fields[n]) for n in ("contour", "amodal_contour")}
        )
        for fields in instance_fields(contours, model.class_names, amodal=model.amodal)
    ]
    return made[CONTOURS_TYPE](
        header=made["std_msgs/msg/Header"](stamp=stamp, frame_id=header.frame_id),
        width=width,
        height=height,
        stage=STAGES.index(contours.stage),
        model=model.name,
        timing=timing,
        instances=instances,
    )


def _definition(name: str) -> Path:
    """The .msg file, in an installed library as well as in the source tree."""
    places = [folder / "msg" / f"{name}.msg" for folder in (_PACKAGE, _PACKAGE.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"{places[0].name} is not in {str(places[0].parent)!r}: install again")
    return found


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype


def _announce(reader: AnyReader, writer: Writer) -> dict[tuple[str, str], Connection]:
    """Adds the topics of a bag to another one; files of a bag that share a topic give one."""
    copies: dict[tuple[str, str], Connection] = {}
    for connection in reader.connections:
        if _key(connection) in copies:
            continue
        # Old bags hold no definitions.
        known = bool(connection.msgdef.data and connection.digest)
        if not known and connection.msgtype not in reader.typestore.fielddefs:
            reader.typestore.register({connection.msgtype: ([], [])})
        copies[_key(connection)] = writer.add_connection(
            connection.topic,
            connection.msgtype,
            typestore=None if known else reader.typestore,
            msgdef=connection.msgdef.data if known else None,
            rihs01=connection.digest if known else None,
            offered_qos_profiles=getattr(connection.ext, "offered_qos_profiles", ()),
        )
    return copies


def _messages(reader: AnyReader) -> Iterator[tuple[Connection, int, bytes]]:
    """The messages of a bag, as far as it can be read."""
    messages = reader.messages()
    while True:
        try:
            yield next(messages)
        except StopIteration:
            return
        except Exception:  # whoever reads the images has told
            return
