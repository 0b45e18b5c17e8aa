"""The publishers of the node: contours always, everything else only when somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from e2ec_core.contours import Contours, clip_to_image
from e2ec_core.image_messages import RgbImage
from e2ec_ros.calibration import Calibration, fit_calibration
from e2ec_ros.image_input import image_topic
from e2ec_ros.images import encode_jpeg, fill_image
from e2ec_ros.lazy_outputs import LazyOutputs
from e2ec_ros.markers import clear_markers, contour_markers
from e2ec_ros.messages import (
    FrameTiming,
    ModelDescription,
    contour_array,
    model_info,
)
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.publishers import Publishers
from e2ec_ros.qos import latched, newest_only

if TYPE_CHECKING:
    from e2ec_core.tracking import Tracker

CONTOURS_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
IMAGE_QOS = newest_only(QoSReliabilityPolicy.RELIABLE)  # serves best-effort readers too


class Outputs(Publishers):
    """The publishers; the inference thread publishes. Sends the model's description at once.

    Args:
        node: the node; its lifecycle decides whether the publishers send.
        model: what runs.
        parameters: those of configure.
        camera: one of several; else empty.

    Attributes:
        lazy: label images, detections and annotations.
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
        self._image_topic = node.resolve_topic_name(image_topic(camera))
        self.contours = self._managed_publisher(InstanceContourArray, "~/contours", CONTOURS_QOS)
        self.tracks = None
        if parameters.tracks:
            self.tracks = self._managed_publisher(InstanceContourArray, "~/tracks", CONTOURS_QOS)
        self.overlay = self._managed_publisher(Image, "~/overlay/image", IMAGE_QOS)
        self.compressed = self._managed_publisher(
            CompressedImage, "~/overlay/image/compressed", IMAGE_QOS
        )
        self.overlay_info = self._managed_publisher(CameraInfo, "~/overlay/camera_info", IMAGE_QOS)
        self.markers = self._managed_publisher(MarkerArray, "~/markers", CONTOURS_QOS)
        self._send_latched(
            model_info(model, parameters.score_threshold), "~/model_info", latched()
        )
        self.lazy = LazyOutputs(node, model, parameters, camera)

    @property
    def topics(self) -> list[str]:
        """The full names of the topics."""
        return super().topics + self.lazy.topics

    @property
    def heard(self) -> bool:
        """Whether anybody wants a result."""
        return super().heard or self.lazy.heard

    def destroy(self) -> None:
        """Takes the publishers off the node."""
        self.lazy.destroy()
        super().destroy()

    def publish_tracks(self, tracker: Tracker, timing: FrameTiming, header: Header) -> None:
        """Publishes the objects of confirmed tracks if somebody listens."""
        if self.tracks is not None and self.tracks.get_subscription_count():
            with self._optional("tracks"):
                contours = clip_to_image(tracker.confirmed())
                self.tracks.publish(contour_array(contours, self._model, timing, header))

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
        calibration = self._calibration(info, contours.image_size, header)
        if calibration is None:
            return
        rectified = parameters.markers_image == "rectified"
        if parameters.markers_image == "auto":
            rectified = self._image_topic.rpartition("/")[2].startswith("image_rect")
        with self._optional("markers"):
            message = contour_markers(
                contours,
                self._model,
                header,
                calibration,
                rectified=rectified,
                depth=parameters.markers_depth,
                line_width=parameters.markers_line_width,
                max_vertices=parameters.markers_max_vertices,
                lifetime=parameters.markers_lifetime,
            )
            self.markers.publish(message)

    def publish_overlay_info(
        self, size: tuple[int, int], header: Header, info: CameraInfo | None
    ) -> None:
        """Publishes the calibration of the image if somebody listens and the camera has one.

        For RViz the zeros of an uncalibrated camera are an error.

        Args:
            size: (height, width) of the image, px.
            header: the image's.
            info: the camera's latest CameraInfo.
        """
        if not self.overlay_info.get_subscription_count():
            return
        calibration = self._calibration(info, size, header)
        if calibration is not None:
            self.overlay_info.publish(calibration.fill(CameraInfo(header=header)))

    def clear_markers(self) -> None:
        """Removes the last markers from RViz; they would stay there for ever."""
        if self.markers.get_subscription_count():
            self.markers.publish(clear_markers(Header()))

    def publish_overlay(
        self,
        image_rgb: RgbImage,
        contours: Contours,
        header: Header,
        parameters: NodeParameters,
    ) -> bool:
        """Draws and publishes the overlay if somebody listens. Returns whether it was drawn."""
        raw = self.overlay.get_subscription_count() > 0
        compressed = self.compressed.get_subscription_count() > 0
        if not raw and not compressed:
            return False
        height, width = image_rgb.shape[:2]
        drawn = None
        with self._optional(f"overlay of {width} x {height} px"):
            drawn = self._draw(image_rgb, contours, parameters)
            if raw:
                self.overlay.publish(fill_image(Image(header=header), drawn))
        if compressed and drawn is not None:
            with self._optional(f"compressed overlay of {width} x {height} px"):
                data = encode_jpeg(drawn, parameters.overlay_jpeg_quality)
                self.compressed.publish(CompressedImage(header=header, format="jpeg", data=data))
        return drawn is not None

    def _calibration(
        self, info: CameraInfo | None, size: tuple[int, int], header: Header
    ) -> Calibration | None:
        """The calibration of an image of (height, width); None, said once, if it has none."""
        try:
            calibration = fit_calibration(info, size, header.frame_id) if info else None
        except ValueError as error:
            self._warn(f"CameraInfo is not used: {error}")
            return None
        if calibration is None or not calibration.known:
            self._warn(
                "markers and overlay/camera_info need a calibrated CameraInfo of the image beside "
                "the image"
            )
            return None
        return calibration

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
