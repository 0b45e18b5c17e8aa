"""A scene for tests of distances: a board 10 m ahead of camera and lidar, before a wall."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from e2ec_ros.calibration import pinhole
from e2ec_ros.messages import flat_vertices
from e2ec_ros.msg import InstanceContour, InstanceContourArray
from e2ec_ros.point_clouds import labelled_points

SIZE = (120, 200)  # px
CAMERA = pinhole(SIZE, 150.0, 150.0, 100.0, 60.0)
BOARD = (70, 30, 130, 90)  # px
BOARD_Z, WALL_Z = 10.0, 30.0  # m
# The lidar: x ahead, y left, z up, half a metre above the camera.
EXTRINSIC = [float(v) for v in (0, -1, 0, 0, 0, 0, -1, -0.5, 1, 0, 0, 0, 0, 0, 0, 1)]


def header(stamp: float, frame: str = "camera") -> Header:
    """A header, s."""
    return Header(stamp=Time(sec=int(stamp), nanosec=round(stamp % 1 * 1e9)), frame_id=frame)


def info(stamp: float = 1.0) -> CameraInfo:
    """The camera's calibration."""
    return CAMERA.fill(CameraInfo(header=header(stamp)))


def contours(stamp: float, *boxes: tuple[float, ...]) -> InstanceContourArray:
    """Rectangles x_min, y_min, x_max, y_max, px; the board's unless given."""
    instances = []
    for i, (left, top, right, bottom) in enumerate(boxes or (BOARD,)):
        corners = [[left, bottom], [right, bottom], [right, top], [left, top]]
        instances.append(
            InstanceContour(
                class_id=2,
                class_name="car",
                score=0.75,
                track_id=7 - i,
                instance_id=i,
                contour=flat_vertices(np.array(corners, np.float32)),
            )
        )
    return InstanceContourArray(
        header=header(stamp), height=SIZE[0], width=SIZE[1], instances=instances
    )


def depth() -> np.ndarray:
    """z of every pixel, m, float32 [H, W]."""
    z = np.full(SIZE, WALL_Z, np.float32)
    left, top, right, bottom = BOARD
    z[top : bottom + 1, left : right + 1] = BOARD_Z
    return z


def depth_image(stamp: float, encoding: str = "32FC1") -> Image:
    """The depth image of the scene."""
    z = depth() if encoding == "32FC1" else np.round(depth() * 1000).astype("<u2")
    height, width = SIZE
    return Image(
        header=header(stamp),
        height=height,
        width=width,
        encoding=encoding,
        step=width * z.itemsize,
        data=z.tobytes(),
    )


def points(step: int = 2) -> np.ndarray:
    """The scene as the lidar has it, float64 [n, 3], lidar frame, m."""
    y, x = (grid.reshape(-1) for grid in np.mgrid[0 : SIZE[0] : step, 0 : SIZE[1] : step])
    z = depth()[y, x].astype(np.float64)
    camera = np.stack([(x - 100) / 150 * z, (y - 60) / 150 * z, z], axis=1)
    pose = np.array(EXTRINSIC).reshape(4, 4)
    return (camera - pose[:3, 3]) @ pose[:3, :3]


def cloud(stamp: float, frame: str = "lidar") -> PointCloud2:
    """The lidar's message, with an own field beside the positions."""
    found = points()
    message = labelled_points(found, np.arange(len(found), dtype=np.int32), header(stamp, frame))
    message.fields[-1] = PointField(name="ring", offset=12, datatype=PointField.INT32, count=1)
    return message
