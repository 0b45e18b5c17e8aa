"""The subscriptions of the distance node: contours, points and the calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.pairing import Pairing
from e2ec_ros.qos import choose_input, newest_only

CONTOURS_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
SOURCES = {"points": PointCloud2, "depth": Image}
FOLLOW_PERIOD = 0.25  # s between looks at who publishes points
CHECK_PERIOD = 0.02  # s between looks whether contours have waited enough
SOURCE_DEPTH = 5  # messages; DDS keeps them while a frame is in work

AnySource = Any  # PointCloud2 or Image


class DistanceInput:
    """Hands on contours together with the points of the same moment.

    Args:
        node: the node.
        on_pair: called with contours, points (None: none of this moment) and the difference in
            time to the nearest points, s.
        parameters: gives the current parameters.

    Attributes:
        camera_info: the latest CameraInfo; None before one.
        topic: of the points or depth images.
    """

    def __init__(
        self,
        node: Node,
        on_pair: Callable[[InstanceContourArray, AnySource | None, float], None],
        parameters: Callable[[], DistanceParameters],
    ) -> None:
        self._node, self._on_pair, self._parameters = node, on_pair, parameters
        given = parameters()
        self._kind = SOURCES[given.source]
        self.topic = node.resolve_topic_name(given.source)
        self.camera_info: CameraInfo | None = None
        self._pairing: Pairing[InstanceContourArray, AnySource] = Pairing(given.keep)
        self._source: Subscription[Any] | None = None
        self._qos: QoSProfile | None = None
        node.create_subscription(
            InstanceContourArray, "e2ec/contours", self._on_contours, CONTOURS_QOS
        )
        node.create_subscription(
            CameraInfo,
            "camera_info",
            self._on_camera_info,
            newest_only(QoSReliabilityPolicy.BEST_EFFORT),
        )
        # Steady clocks: with use_sim_time and no /clock a timer of the node would never fire.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(FOLLOW_PERIOD, self._follow, clock=steady)
        node.create_timer(CHECK_PERIOD, self._check, clock=steady)
        self._follow()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message

    def _on_contours(self, message: InstanceContourArray) -> None:
        self._pairing.add_result(message, time.monotonic())
        self._check()

    def _on_source(self, message: AnySource) -> None:
        self._pairing.add_measurement(message)
        self._check()

    def _check(self) -> None:
        if not len(self._pairing):
            return
        given = self._parameters()
        for pair in self._pairing.take(time.monotonic(), given.tolerance, given.wait):
            self._on_pair(*pair)

    def _follow(self) -> None:
        """Subscribes to the points in the way that serves their publishers."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        wanted = choose_input(self._parameters().qos, publishers)
        if wanted is None or (self._qos and self._qos.reliability == wanted.reliability):
            return
        if self._source is not None:
            self._node.destroy_subscription(self._source)
        self._qos = wanted
        qos = QoSProfile(depth=SOURCE_DEPTH, reliability=wanted.reliability)
        self._source = self._node.create_subscription(self._kind, self.topic, self._on_source, qos)
