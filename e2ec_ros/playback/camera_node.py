"""Publishes images and CameraInfo from whatever `sources` can open, as a camera does.

The exit status is 1 if the source cannot be played, or if an image of it had to be skipped.
"""

from __future__ import annotations

if __name__ == "__main__":
    from e2ec_ros.starting import prepare_process

    prepare_process()

import queue
import sys
import time
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from e2ec_core.value_range import parse_range
from e2ec_ros.calibration import Calibration, fit_calibration, pinhole
from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import CONTOURS_QOS
from e2ec_ros.parameters import CameraParameters
from e2ec_ros.playback.prefetch import Prefetched
from e2ec_ros.playback.source_types import SourceImage
from e2ec_ros.playback.sources import open_source
from e2ec_ros.qos import latched
from e2ec_ros.running import run_node

PUBLISHED = "images published:"  # begins the line with the count, for those who start a camera
ANSWER_CHECK_PERIOD = 0.1  # s; an answer itself brings the next image at once
LIVE_PERIOD = 0.01  # s between looks for a new image of a live camera
WAIT_PERIOD = 0.1  # s between looks for a signal while a slow source gives nothing
NAMED = 3  # skipped images that are named at the end
CAMERA_INFO_DEPTH = 10
IMAGE_DEPTH = 5  # kept for readers that are a little late
CLOSE_TIMEOUT = 2.0  # s
ANSWER_TIMEOUT = 60.0  # s for the contours of one image
LAST_ANSWER_TIMEOUT = 2.0  # s after the last image, for readers to take it


class Skipped:
    """What could not be published, for the last line of the process."""

    def __init__(self) -> None:
        self._reasons: dict[str, None] = {}  # in order; a source that loops meets them again
        self.published = 0

    def add(self, error: ValueError) -> None:
        """Notes one image."""
        self._reasons[str(error)] = None

    def __len__(self) -> int:
        return len(self._reasons)

    def __str__(self) -> str:
        named = "; ".join(list(self._reasons)[:NAMED])
        more = f"; and {len(self) - NAMED} more" if len(self) > NAMED else ""
        return f"images skipped: {len(self)} ({self.published} published): {named}{more}"


class CameraNode(Node):
    """Plays a source on `image` and `camera_info` and ends its process at the end of it.

    With `wait_for_contours` each image is held back until the contours of the one before came, so
    that a slow machine loses none.

    Args:
        parameter_overrides: beside those of the command line, for use inside a process.
        skipped: where images that cannot be published are noted.

    Raises:
        ValueError: a parameter is impossible or the source cannot be read.
    """

    def __init__(
        self,
        parameter_overrides: list[Parameter[Any]] | None = None,
        skipped: Skipped | None = None,
    ) -> None:
        super().__init__("camera", parameter_overrides=parameter_overrides)
        self._declared = DeclaredParameters(self, CameraParameters, lambda: "live")
        self._declared.require_possible()
        parameters = self._declared.value
        camera = self.get_namespace().rpartition("/")[2] or "camera"
        self._default_frame = f"{camera}_optical_frame"
        self._source = open_source(
            parameters.source,
            bag_topic=parameters.bag_topic,
            seed=parameters.seed,
            values=parse_range(parameters.range),
        )
        self.skipped = Skipped() if skipped is None else skipped
        self.published = 0
        self._unanswered: Header | None = None
        self._published_at = time.monotonic()
        self._ended_at: float | None = None
        self._warned: set[str] = set()
        self._make_publishers(parameters)
        self._images = self._prefetch()
        if parameters.wait_for_contours:
            self._answers = self.create_subscription(
                InstanceContourArray, parameters.wait_for_contours, self._on_answer, CONTOURS_QOS
            )
        self._timer = self.create_timer(
            self._period(parameters), self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(f"playing {self._source.description}")

    def _prefetch(self) -> Prefetched[SourceImage | ValueError]:
        live = self._source.live  # its newest image counts, not each
        return Prefetched(self._source.images(), 1 if live else 2, newest=live)

    def _period(self, parameters: CameraParameters) -> float:
        if parameters.rate:
            return 1.0 / parameters.rate
        if self._source.live:
            return LIVE_PERIOD
        return ANSWER_CHECK_PERIOD if parameters.wait_for_contours else 1.0 / self._source.rate

    def close(self, timeout: float) -> bool:
        """Ends the thread that reads ahead; returns whether it ended in time."""
        return self._images.close(timeout)

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
            try:
                image = self._next_image()
            except queue.Empty:
                return
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
        """The next readable image; None at the end.

        Raises:
            queue.Empty: a live source has no new image yet.
        """
        parameters = self._declared.value
        if parameters.max_frames and self.published >= parameters.max_frames:
            return None
        restarts = 0
        while True:
            try:
                image = self._take()
            except StopIteration:
                # A second end without an image in between: nothing readable is left to loop over.
                restarts += 1
                if self._source.live:
                    self.get_logger().warning(f"{self._source.description} ended")
                if not parameters.loop or self._source.live or restarts > 1:
                    return None
                self._images.close(CLOSE_TIMEOUT)
                self._images = self._prefetch()
                continue
            if isinstance(image, SourceImage):
                return image
            self.skipped.add(image)
            self.get_logger().warning(f"image skipped: {image}", throttle_duration_sec=1.0)

    def _take(self) -> SourceImage | ValueError:
        """The next item; a source of files is waited for, unless a signal came."""
        while self.context.ok():
            try:
                return self._images.take(0.0 if self._source.live else WAIT_PERIOD)
            except queue.Empty:
                if self._source.live:
                    raise
        raise ExternalShutdownException

    def _publish(self, image: SourceImage) -> None:
        parameters = self._declared.value
        header = Header(
            stamp=self._stamp(image, original=parameters.stamps == "original"),
            frame_id=parameters.frame_id or image.frame_id or self._default_frame,
        )
        # CameraInfo first: the image's reader then knows its camera.
        calibration = self._calibration(image, parameters.intrinsics)
        self._info.publish(calibration.fill(CameraInfo(header=header)))
        self._image.publish(fill_image(Image(header=header), image.rgb))
        self.published += 1
        self.skipped.published = self.published
        self._unanswered, self._published_at = header, time.monotonic()

    def _stamp(self, image: SourceImage, *, original: bool) -> Time:
        if original and image.stamp is not None:
            return Time(sec=image.stamp // 10**9, nanosec=image.stamp % 10**9)
        now = self.get_clock().now()
        if image.grabbed is not None:
            now -= Duration(seconds=time.monotonic() - image.grabbed)
        return now.to_msg()

    def _calibration(self, image: SourceImage, intrinsics: Sequence[float]) -> Calibration:
        """The calibration of an image: recorded, known to the source, given, or unknown."""
        height, width = image.rgb.shape[:2]
        if image.camera_info is not None:
            try:
                return fit_calibration(image.camera_info, (height, width), image.frame_id or "")
            except ValueError as error:
                if str(error) not in self._warned:
                    self._warned.add(str(error))
                    self.get_logger().warning(f"the recorded CameraInfo is left out: {error}")
        fx, fy, cx, cy = image.intrinsics or intrinsics
        if fx == 0.0:
            return Calibration(size=(height, width))
        return pinhole((height, width), fx, fy, cx, cy)

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays until the source ends, or until SIGINT or SIGTERM; 1 if an image was skipped."""
    skipped = Skipped()
    status = run_node(lambda: CameraNode(skipped=skipped), arguments)
    if skipped:
        print(f"error: {skipped}", file=sys.stderr)
    return status or int(bool(skipped))


if __name__ == "__main__":
    sys.exit(main())
