"""The contours in other forms, each made only while somebody listens.

Label images need nothing more; the messages of vision_msgs and foxglove_msgs exist where these
packages are installed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_core.contours import Contours
from e2ec_ros.label_images import class_image, instance_image
from e2ec_ros.messages import ModelDescription
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.publishers import Publishers
from e2ec_ros.qos import latched, newest_only

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

    Build = Callable[[Contours, Header, NodeParameters], Any]

IMAGE_QOS = newest_only(QoSReliabilityPolicy.RELIABLE)  # serves best-effort readers too
MESSAGE_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)


class LazyOutputs(Publishers):
    """Publishers of label images, detections and annotations.

    Args:
        node: the node; its lifecycle decides whether the publishers send.
        model: what runs.
        parameters: those of configure.
        camera: one of several; else empty.

    Attributes:
        built: topic to the number of messages made for it.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: ModelDescription,
        parameters: NodeParameters,
        camera: str,
    ) -> None:
        super().__init__(node, camera)
        self._model = model
        self._builds: list[tuple[str, LifecyclePublisher[Any], Build]] = []
        self.built: Counter[str] = Counter()
        classes = len(model.class_names)
        self._add(Image, "~/labels/image", IMAGE_QOS, lambda c, h, _: instance_image(c, h))
        self._add(Image, "~/classes/image", IMAGE_QOS, lambda c, h, _: class_image(c, h, classes))
        missing = []
        for package, add in (
            ("vision_msgs", self._add_vision),
            ("foxglove_msgs", self._add_foxglove),
        ):
            with self._optional(f"messages of {package}"):
                try:
                    add(parameters)
                except ImportError:
                    missing.append(package)
        if missing:
            node.get_logger().debug(f"not published, as not installed: {', '.join(missing)}")

    def publish(self, contours: Contours, header: Header, parameters: NodeParameters) -> None:
        """Makes and sends what somebody listens to."""
        for topic, publisher, build in self._builds:
            if publisher.get_subscription_count():
                with self._optional(topic):
                    publisher.publish(build(contours, header, parameters))
                    self.built[topic] += 1

    def _add(self, kind: type, topic: str, qos: QoSProfile, build: Build) -> None:
        self._builds.append((topic, self._managed_publisher(kind, topic, qos), build))

    def _add_vision(self, parameters: NodeParameters) -> None:
        from e2ec_ros.vision_messages import Detection2DArray, detection_array, label_info

        header, model = Header(stamp=self._node.get_clock().now().to_msg()), self._model
        table = label_info(header, model, parameters.score_threshold)
        self._send_latched(table, "~/label_info", latched())
        self._add(
            Detection2DArray,
            "~/detections",
            MESSAGE_QOS,
            lambda contours, header, _: detection_array(contours, header, model),
        )

    def _add_foxglove(self, _: NodeParameters) -> None:
        from e2ec_ros.foxglove_messages import ImageAnnotations, image_annotations

        def build(contours: Contours, header: Header, live: NodeParameters) -> ImageAnnotations:
            return image_annotations(
                contours,
                header,
                self._model,
                line_width=live.overlay_line_width,
                fill=live.overlay_fill,
                labels=live.overlay_labels,
            )

        self._add(ImageAnnotations, "~/annotations", MESSAGE_QOS, build)
