"""A camera made of files: publishes images and CameraInfo from whatever `sources` can open."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import CONTOURS_QOS
from e2ec_ros.parameters import CameraParameters
from e2ec_ros.playback.prefetch import Prefetched
from e2ec_ros.playback.sources import SourceImage, open_source
from e2ec_ros.qos import latched
from e2ec_ros.running import run_node

PUBLISHED = "images published:"  # begins the line with the count, for those who start a camera
DEFAULT_FRAME_ID = "camera_optical_frame"
ANSWER_CHECK_PERIOD = 0.1  # s; an answer itself brings the next image at once
CAMERA_INFO_DEPTH = 10
IMAGE_DEPTH = 5  # kept for readers that are a little late
CLOSE_TIMEOUT = 2.0  # s
ANSWER_TIMEOUT = 60.0  # s for the contours of one image
LAST_ANSWER_TIMEOUT = 2.0  # s after the last image, for readers to take it


class CameraNode(Node):
    """Plays a source on `image` and `camera_info` and ends its process at the end of it.

    With `wait_for_contours` each image is held back until the contours of the one before came, so
    that a slow machine loses none.
    """

    def __init__(self, parameter_overrides: list[Parameter[Any]] | None = None) -> None:
        """Opens the source.

        Args:
            parameter_overrides: beside those of the command line, for use inside a process.

        Raises:
            ValueError: a parameter is impossible or the source cannot be read.
        """
        super().__init__("camera", parameter_overrides=parameter_overrides)
        self._declared = DeclaredParameters(self, CameraParameters, lambda: "live")
        self._declared.require_possible()
        parameters = self._declared.value
        _check_intrinsics(parameters.intrinsics)
        self._source = open_source(
            parameters.source, bag_topic=parameters.bag_topic, seed=parameters.seed
        )
        self._images = Prefetched(self._source.images())
        self.published = 0
        self._unanswered: Header | None = None
        self._published_at = time.monotonic()
        self._ended_at: float | None = None
        self._make_publishers(parameters)
        period = 1.0 / (parameters.rate or self._source.rate)
        if parameters.wait_for_contours:
            self._answers = self.create_subscription(
                InstanceContourArray, parameters.wait_for_contours, self._on_answer, CONTOURS_QOS
            )
            period = 1.0 / parameters.rate if parameters.rate else ANSWER_CHECK_PERIOD
        self._timer = self.create_timer(
            period, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(f"playing {self._source.description}")

    def close(self) -> bool:
        """Ends the thread that reads ahead; returns whether it ended in time."""
        return self._images.close(CLOSE_TIMEOUT)

    def _make_publishers(self, parameters: CameraParameters) -> None:
        reliable = parameters.reliability == "reliable"
        qos = QoSProfile(
            depth=IMAGE_DEPTH,
            reliability=QoSReliabilityPolicy.RELIABLE
            if reliable
            else QoSReliabilityPolicy.BEST_EFFORT,
        )
        self._image = self.create_publisher(Image, "image", qos)
        topic = f"{self._image.topic_name.rsplit('/', 1)[0]}/camera_info"
        # Deeper than the image's and latched: it is small, and who comes later needs it too.
        self._info = self.create_publisher(CameraInfo, topic, latched(CAMERA_INFO_DEPTH))

    def _on_answer(self, message: InstanceContourArray) -> None:
        if self._unanswered is not None and message.header.stamp == self._unanswered.stamp:
            self._unanswered = None
            if not self._declared.value.rate:
                self._tick()

    def _tick(self) -> None:
        if self._ended_at is not None:
            self._end_when_taken()
        elif self._may_publish():
            image = self._next_image()
            if image is None:
                self._ended_at = time.monotonic()
            else:
                self._publish(image)

    def _may_publish(self) -> bool:
        parameters = self._declared.value
        if self.published == 0 and not self._connected(parameters):
            return False
        if not parameters.wait_for_contours or self._unanswered is None:
            return True
        waited = time.monotonic() - self._published_at
        if waited < ANSWER_TIMEOUT:
            return False
        self.get_logger().warning(f"no contours for {waited:.0f} s; going on without them")
        return True

    def _connected(self, parameters: CameraParameters) -> bool:
        """Whether those are there for whom the first image waits."""
        if parameters.wait_for_contours and not self.count_publishers(
            parameters.wait_for_contours
        ):
            return False
        return not parameters.wait_for_subscriber or self._image.get_subscription_count() > 0

    def _next_image(self) -> SourceImage | None:
        """The next readable image; None at the end."""
        parameters = self._declared.value
        if parameters.max_frames and self.published >= parameters.max_frames:
            return None
        restarts = 0
        while True:
            try:
                return next(self._images)
            except StopIteration:
                # A second end without an image in between: nothing readable is left to loop over.
                restarts += 1
                if not parameters.loop or restarts > 1:
                    return None
                self._images.close(CLOSE_TIMEOUT)
                self._images = Prefetched(self._source.images())
            except ValueError as error:
                self.get_logger().warning(f"image skipped: {error}")

    def _publish(self, image: SourceImage) -> None:
        parameters = self._declared.value
        header = Header(
            stamp=self.get_clock().now().to_msg(),
            frame_id=parameters.frame_id or image.frame_id or DEFAULT_FRAME_ID,
        )
        # CameraInfo first: the image's reader then knows its camera.
        self._info.publish(camera_info(image, header, parameters.intrinsics))
        self._image.publish(fill_image(Image(header=header), image.rgb))
        self.published += 1
        self._unanswered, self._published_at = header, time.monotonic()

    def _end_when_taken(self) -> None:
        """Ends the process once the last image was answered, or had time to be."""
        parameters = self._declared.value
        assert self._ended_at is not None
        waited = time.monotonic() - self._ended_at
        if parameters.wait_for_contours:
            ended = self._unanswered is None or waited > ANSWER_TIMEOUT
        else:
            ended = waited > LAST_ANSWER_TIMEOUT
        if ended:
            self.get_logger().info(f"{PUBLISHED} {self.published}")
            raise ExternalShutdownException


def camera_info(image: SourceImage, header: Header, intrinsics: Sequence[float]) -> CameraInfo:
    """The CameraInfo of an image: recorded, known to the source, given, or uncalibrated.

    Args:
        image: the image.
        header: that of the image.
        intrinsics: fx, fy, cx, cy in px for sources that do not know theirs; zeros for unknown.

    Returns:
        CameraInfo without distortion; K is all zeros for an uncalibrated camera, as ROS has it.
    """
    height, width = image.rgb.shape[:2]
    info = CameraInfo(header=header, height=height, width=width)
    if image.camera_info is not None:
        return _copy_calibration(image.camera_info, info)
    fx, fy, cx, cy = image.intrinsics or intrinsics
    if fx == 0.0:
        return info
    info.distortion_model, info.d = "plumb_bob", [0.0] * 5
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def _copy_calibration(recorded: object, info: CameraInfo) -> CameraInfo:
    """Takes the calibration of a recorded message, of ROS 2 (`k`) or ROS 1 (`K`)."""
    info.distortion_model = getattr(recorded, "distortion_model", "")
    for name in ("d", "k", "r", "p"):
        values = getattr(recorded, name, None)
        if values is None:
            values = getattr(recorded, name.upper())
        setattr(info, name, [float(value) for value in values])
    return info


def _check_intrinsics(intrinsics: Sequence[float]) -> None:
    fx, fy = intrinsics[:2]
    if min(fx, fy) < 0 or (fx == 0) != (fy == 0):
        raise ValueError(
            f"parameter intrinsics is {list(intrinsics)}; give fx, fy, cx, cy in px, "
            "or four zeros for an uncalibrated camera"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays until the source ends, or until SIGINT or SIGTERM."""
    return run_node(CameraNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
