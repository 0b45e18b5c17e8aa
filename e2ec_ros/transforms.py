"""Where a sensor stands, as a matrix: from a parameter or from TF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Transform
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time as RclpyTime

Matrix = NDArray[np.float64]


def matrix_of(transform: Transform) -> Matrix:
    """A transform as float64 [4, 4], which maps points of the child's frame to the parent's."""
    q, t = transform.rotation, transform.translation
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / np.linalg.norm([q.x, q.y, q.z, q.w])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix


class Extrinsics:
    """Finds the matrix from a sensor's frame to the camera's.

    Args:
        node: listens to TF, where tf2_ros is installed.
    """

    def __init__(self, node: Node) -> None:
        self._buffer: Any = None
        try:
            import tf2_ros
        except ImportError:
            return
        self._error = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def find(self, camera: str, sensor: str, stamp: Time, given: Sequence[float]) -> Matrix:
        """The matrix [4, 4] that maps points of the sensor's frame to the camera's.

        Args:
            camera: the optical frame of the contours.
            sensor: the frame of the points.
            stamp: of the points; the newest transform serves where there is none of this time.
            given: the parameter `extrinsic`, 16 numbers; zeros for none.

        Raises:
            ValueError: neither parameter nor TF tells; one line that says what to do.
        """
        if any(given):
            return np.array(given, np.float64).reshape(4, 4)
        camera, sensor = camera.lstrip("/"), sensor.lstrip("/")
        if camera == sensor:
            return np.eye(4)
        if self._buffer is None:
            raise ValueError(
                f"where {sensor!r} stands from {camera!r} is unknown: tf2_ros is not installed, "
                "so set the parameter extrinsic"
            )
        reason = ""
        for time in (RclpyTime.from_msg(stamp), RclpyTime()):
            try:
                return matrix_of(self._buffer.lookup_transform(camera, sensor, time).transform)
            except self._error as error:
                reason = " ".join(str(error).split())
        raise ValueError(
            f"TF does not tell where {sensor!r} stands from {camera!r} ({reason}); publish it or "
            "set the parameter extrinsic"
        )
