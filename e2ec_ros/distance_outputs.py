"""The publishers of the distance node: positions always, the rest while somebody listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from e2ec_ros.msg import InstancePositionArray
from e2ec_ros.point_clouds import labelled_points, with_instances
from e2ec_ros.position_markers import position_markers
from e2ec_ros.positions import Measured
from e2ec_ros.qos import newest_only

MESSAGE_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
CLOUD_QOS = newest_only(QoSReliabilityPolicy.RELIABLE)  # serves best-effort readers too

Build = Callable[[Measured, Any, float], Any]  # of a source message and the markers' lifetime


class DistanceOutputs:
    """Makes and sends what is heard.

    Args:
        node: the node.

    Attributes:
        built: topic to the number of messages made for it, of those that are lazy.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.built: Counter[str] = Counter()
        self._builds: list[tuple[str, Publisher[Any], Build]] = []
        self._positions = node.create_publisher(InstancePositionArray, "~/positions", MESSAGE_QOS)
        self._add(PointCloud2, "~/points", CLOUD_QOS, lambda m, s, _: labelled_cloud(m, s))
        self._add(
            MarkerArray, "~/markers", MESSAGE_QOS, lambda m, _, t: position_markers(m.message, t)
        )
        try:
            from e2ec_ros.position_detections import Detection3DArray, detection_array_3d
        except ImportError:
            node.get_logger().debug("~/detections is not published: vision_msgs is not installed")
        else:
            self._add(
                Detection3DArray,
                "~/detections",
                MESSAGE_QOS,
                lambda measured, *_: detection_array_3d(measured.message),
            )

    def publish(self, measured: Measured, source: Any, lifetime: float) -> None:
        """Sends the positions, and the rest where somebody listens.

        Args:
            measured: the positions and their points.
            source: the PointCloud2 or depth image that they are made of.
            lifetime: of the markers, s.
        """
        self._positions.publish(measured.message)
        for topic, publisher, build in self._builds:
            if publisher.get_subscription_count():
                publisher.publish(build(measured, source, lifetime))
                self.built[topic] += 1

    def _add(self, kind: type, topic: str, qos: QoSProfile, build: Build) -> None:
        self._builds.append((topic, self._node.create_publisher(kind, topic, qos), build))


def labelled_cloud(measured: Measured, source: Any) -> PointCloud2:
    """The whole cloud with the field `instance`; of a depth image the points of objects alone."""
    if isinstance(source, PointCloud2):
        labels = np.full(source.width * source.height, -1, np.int32)
        labels[measured.samples.rows] = measured.labels
        return with_instances(source, labels)
    found = measured.labels >= 0
    points = measured.samples.points[found]
    return labelled_points(points, measured.labels[found], measured.message.header)
