"""Writes small bags for tests, without a ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
SECOND = 10**9


def picture(seed: int, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.uint8)


def header(stamp: float = 5.0, frame_id: str = "bag_optical_frame") -> Any:
    time = T["builtin_interfaces/msg/Time"](sec=int(stamp), nanosec=int(stamp % 1 * 1e9))
    return T["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def raw(rgb: NDArray[np.uint8], stamp: float = 5.0, frame_id: str = "bag_optical_frame") -> Any:
    """A bgr8 image with padded rows."""
    rows = np.pad(rgb[..., ::-1].reshape(len(rgb), -1), ((0, 0), (0, 16)))
    return image(rows, rgb.shape[1], "bgr8", header(stamp, frame_id))


def depth(encoding: str = "16UC1", value: int = 8192) -> Any:
    kind = np.float32 if encoding == "32FC1" else np.uint16
    return image(np.full((32, 48), value, kind).view(np.uint8), 48, encoding, header())


def image(rows: NDArray[np.uint8], width: int, encoding: str, head: Any) -> Any:
    return T["sensor_msgs/msg/Image"](
        header=head,
        height=len(rows),
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed(data: bytes, form: str) -> Any:
    return T["sensor_msgs/msg/CompressedImage"](
        header=header(), format=form, data=np.frombuffer(data, np.uint8)
    )


def info(
    focal: float = 50.0, size: tuple[int, int] = (32, 48), frame_id: str = "bag_optical_frame"
) -> Any:
    height, width = size
    k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1])
    roi = T["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(frame_id=frame_id),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.c_[k.reshape(3, 3), np.zeros(3)].reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def write_messages(
    folder: Path,
    messages: Sequence[tuple[str, float, Any]],
    plugin: StoragePlugin = StoragePlugin.MCAP,
) -> Path:
    """Writes (topic, receive time in s, message or bytes in place of one); returns the folder."""
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for topic, seconds, message in messages:
            data = message
            if not isinstance(message, bytes):  # cdr, or anything that is none
                if topic not in connections:
                    connections[topic] = writer.add_connection(
                        topic, message.__msgtype__, typestore=STORE
                    )
                data = STORE.serialize_cdr(message, message.__msgtype__)
            if seconds >= 0:  # else the topic is only announced
                writer.write(connections[topic], int(seconds * SECOND), bytes(data))
    return folder


def write_bag(folder: Path, plugin: StoragePlugin, count: int, topic: str = "/cam/image") -> Path:
    """Images at 10 Hz on one topic and a CameraInfo before them."""
    beside = f"{topic.rsplit('/', 1)[0]}/camera_info"
    images = [(topic, 2 + 0.1 * i, raw(picture(i), 2 + 0.1 * i)) for i in range(count)]
    announced = [(topic, -1.0, raw(picture(0)))]
    return write_messages(folder, [*announced, (beside, 1.0, info()), *images], plugin)
