"""The publishers of the node: contours always, everything else only when somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from e2ec_core.contours import Contours
from e2ec_ros.images import RgbImage, encode_jpeg, fill_image
from e2ec_ros.markers import can_project, contour_markers
from e2ec_ros.messages import ModelDescription, model_info
from e2ec_ros.msg import InstanceContourArray, ModelInfo
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.qos import latched, newest_only

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

CONTOURS_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
IMAGE_QOS = newest_only(QoSReliabilityPolicy.RELIABLE)  # serves best-effort readers too


class Outputs:
    """Made in configure, destroyed in cleanup. Publishes from the inference thread."""

    def __init__(
        self, node: LifecycleNode, model: ModelDescription, parameters: NodeParameters
    ) -> None:
        """Makes the publishers and sends the model's description.

        Args:
            node: the node; its lifecycle decides whether the publishers send.
            model: what runs.
            parameters: those of configure.
        """
        self._node = node
        self._model = model
        self._managed: list[LifecyclePublisher[Any]] = []
        self.contours = self._managed_publisher(InstanceContourArray, "~/contours", CONTOURS_QOS)
        self.overlay = self._managed_publisher(Image, "~/overlay/image", IMAGE_QOS)
        self.compressed = self._managed_publisher(
            CompressedImage, "~/overlay/image/compressed", IMAGE_QOS
        )
        self.overlay_info = self._managed_publisher(CameraInfo, "~/overlay/camera_info", IMAGE_QOS)
        self.markers = self._managed_publisher(MarkerArray, "~/markers", CONTOURS_QOS)
        # Not managed: a managed one would swallow the message, as the node is not active yet.
        self._info: Publisher[ModelInfo] = node.create_publisher(
            ModelInfo, "~/model_info", latched()
        )
        self._info.publish(model_info(model, parameters.score_threshold))

    def destroy(self) -> None:
        """Takes the publishers off the node."""
        for publisher in self._managed:
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._info)

    def publish_markers(
        self,
        contours: Contours,
        header: Header,
        info: CameraInfo | None,
        parameters: NodeParameters,
    ) -> None:
        """Publishes markers if somebody listens and the camera is calibrated."""
        if not self.markers.get_subscription_count():
            return
        if info is None or not can_project(info, contours.image_size):
            self._node.get_logger().warning(
                "markers need a calibrated CameraInfo of the image's size beside the image",
                throttle_duration_sec=10.0,
            )
            return
        self.markers.publish(
            contour_markers(
                contours,
                self._model,
                header,
                info,
                depth=parameters.markers_depth,
                line_width=parameters.markers_line_width,
                max_vertices=parameters.markers_max_vertices,
            )
        )

    def publish_overlay(
        self,
        image_rgb: RgbImage,
        contours: Contours,
        header: Header,
        info: CameraInfo | None,
        parameters: NodeParameters,
    ) -> bool:
        """Draws and publishes the overlay if somebody listens. Returns whether it was drawn."""
        raw = self.overlay.get_subscription_count() > 0
        compressed = self.compressed.get_subscription_count() > 0
        if not raw and not compressed:
            return False
        drawn = self._draw(image_rgb, contours, parameters)
        if raw:
            self.overlay.publish(fill_image(Image(header=header), drawn))
        if compressed:
            data = encode_jpeg(drawn, parameters.overlay_jpeg_quality)
            self.compressed.publish(CompressedImage(header=header, format="jpeg", data=data))
        if info is not None:
            self.overlay_info.publish(with_header(info, header))
        return True

    def _draw(
        self, image_rgb: RgbImage, contours: Contours, parameters: NodeParameters
    ) -> RgbImage:
        from e2ec_core.inference.draw import draw_contours

        return draw_contours(
            image_rgb,
            contours,
            self._model.class_names,
            line_width=parameters.overlay_line_width,
            fill=parameters.overlay_fill,
            labels=parameters.overlay_labels,
        )

    def _managed_publisher(
        self, kind: type, topic: str, qos: QoSProfile
    ) -> LifecyclePublisher[Any]:
        publisher: LifecyclePublisher[Any] = self._node.create_lifecycle_publisher(
            kind, topic, qos
        )
        self._managed.append(publisher)
        return publisher


def with_header(info: CameraInfo, header: Header) -> CameraInfo:
    """A copy of a CameraInfo that belongs to another image."""
    values = {name: getattr(info, name) for name in info.get_fields_and_field_types()}
    return CameraInfo(**{**values, "header": header})
