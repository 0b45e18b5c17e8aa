"""The image subscription: quality of service by itself, and a warning when nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from e2ec_ros.qos import choose_input, describe_incompatible, describe_silence, newest_only

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

POLL_PERIOD = 0.25  # s
SILENCE_BEFORE_WARNING = 5.0  # s


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One received image.

    Attributes:
        message: the image message.
        camera_info: the latest CameraInfo, which is constant on most cameras; None before one.
        received: when it came, s of `time.monotonic`.
    """

    message: Image | CompressedImage
    camera_info: CameraInfo | None
    received: float


class ImageInput:
    """Subscribes to `image` and its CameraInfo and hands every image on.

    Exists while the node is active. With `auto` the subscription is made when a publisher is
    there to follow, and made anew when nothing arrives and the publishers changed.
    """

    def __init__(
        self,
        node: Node,
        on_frame: Callable[[Frame], None],
        *,
        qos: str,
        transport: str,
        camera_info_topic: str,
    ) -> None:
        """Starts to listen.

        Args:
            node: the node.
            on_frame: called in the executor's thread with every image; must not block.
            qos: the `input.qos` parameter.
            transport: the `image_transport` parameter.
            camera_info_topic: the `input.camera_info` parameter.
        """
        self._node = node
        self._on_frame = on_frame
        self._setting = qos
        base = node.resolve_topic_name("image")
        self.topic = base if transport == "raw" else f"{base}/compressed"
        self._type = Image if transport == "raw" else CompressedImage
        self._subscription: Subscription[Any] | None = None
        self._qos: QoSProfile | None = None
        self._camera_info: CameraInfo | None = None
        self._heard_at = time.monotonic()
        self._heard_since_poll = False
        self._warned = False
        self._info_subscription = node.create_subscription(
            CameraInfo,
            camera_info_topic or f"{base.rsplit('/', 1)[0]}/camera_info",
            self._on_camera_info,
            newest_only(QoSReliabilityPolicy.BEST_EFFORT),
        )
        # A steady clock: with use_sim_time and no /clock a timer of the node would never fire.
        self._timer = node.create_timer(
            POLL_PERIOD, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._poll()

    def destroy(self) -> None:
        """Ends both subscriptions; no image is handed on after it."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._info_subscription)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_message(self, message: Image | CompressedImage) -> None:
        self._heard_since_poll, self._warned = True, False
        self._heard_at = time.monotonic()
        self._on_frame(
            Frame(message=message, camera_info=self._camera_info, received=self._heard_at)
        )

    def _poll(self) -> None:
        """Subscribes when there is somebody to follow; warns once when nothing comes."""
        if self._heard_since_poll:
            self._heard_since_poll = False
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        wanted = choose_input(self._setting, publishers)
        if wanted is not None and (
            self._qos is None or wanted.reliability != self._qos.reliability
        ):
            self._subscribe(wanted)
        silent = time.monotonic() - self._heard_at
        if silent >= SILENCE_BEFORE_WARNING and not self._warned:
            self._warned = True
            text = describe_silence(self.topic, silent, publishers, self._qos)
            self._node.get_logger().warning(text)

    def _subscribe(self, qos: QoSProfile) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._qos = qos
        self._subscription = self._node.create_subscription(
            self._type,
            self.topic,
            self._on_message,
            qos,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
        )

    def _on_incompatible(self, event: object) -> None:
        assert self._qos is not None
        policy = QoSPolicyKind(getattr(event, "last_policy_kind", 0))
        self._node.get_logger().warning(describe_incompatible(self.topic, policy, self._qos))
