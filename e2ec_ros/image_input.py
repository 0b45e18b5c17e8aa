"""The image subscription: chooses its quality of service and warns when nothing comes."""

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

from e2ec_ros.distro import SubscriptionEventCallbacks
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.qos import (
    choose_input,
    describe_incompatible,
    describe_silence,
    newest_only,
    of_transport,
)
from e2ec_ros.qos_overrides import overriding

TYPES = {"raw": Image, "compressed": CompressedImage}
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


def image_topic(camera: str) -> str:
    """The topic of a camera's images before remapping; `camera` is empty for the only one."""
    return f"{camera}/image" if camera else "image"


def image_topics(node: Node, camera: str) -> dict[str, str]:
    """The full names of a camera's image topics by `image_transport`."""
    base = node.resolve_topic_name(image_topic(camera))
    return {"raw": base, "compressed": node.resolve_topic_name(f"{base}/compressed")}


class ImageInput:
    """Subscribes to `image` and its CameraInfo and hands every image on.

    Exists while the node is active. With `auto` the subscription follows the publishers: it is
    made when there is one, and made anew when another reliability serves them all. While nobody
    wants a result there is none.

    Args:
        node: the node.
        camera: one of several; else empty.
        on_frame: called in the executor's thread with every image; must not block.
        is_wanted: whether there shall be a subscription now.
        is_busy: whether an image is in work; silence means nothing as long.
        parameters: those of activate.

    Attributes:
        topic: the image topic.
        camera_info: the latest CameraInfo; None before one.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        on_frame: Callable[[Frame], None],
        is_wanted: Callable[[], bool],
        is_busy: Callable[[], bool],
        parameters: NodeParameters,
    ) -> None:
        self._node = node
        self._on_frame = on_frame
        self._is_wanted = is_wanted
        self._is_busy = is_busy
        self._setting = parameters.input_qos
        self._topics = image_topics(node, camera)
        self._transport = parameters.image_transport
        self.topic = self._topics[self._transport]
        self._subscription: Subscription[Any] | None = None
        self._qos: QoSProfile | None = None
        self._chosen: QoSReliabilityPolicy | None = None  # before an override
        self.camera_info: CameraInfo | None = None
        self._heard_at = time.monotonic()
        self._reason = ""  # of the silence that was warned of
        info_topic = parameters.input_camera_info
        if camera and info_topic and not info_topic.startswith("/"):
            info_topic = f"{camera}/{info_topic}"
        self._info_subscription = node.create_subscription(
            CameraInfo,
            info_topic or f"{self._topics['raw'].rsplit('/', 1)[0]}/camera_info",
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
        self._unsubscribe()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message

    def _on_message(self, message: Image | CompressedImage) -> None:
        self._reason = ""
        self._heard_at = time.monotonic()
        self._on_frame(
            Frame(message=message, camera_info=self.camera_info, received=self._heard_at)
        )

    def _poll(self) -> None:
        """Follows who publishes and who listens, and warns once when nothing comes."""
        if not self._is_wanted():
            self._unsubscribe()
            self._heard_at = time.monotonic()
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        wanted = choose_input(self._setting, of_transport(self._transport, publishers))
        if wanted is not None and (self._qos is None or wanted.reliability != self._chosen):
            self._subscribe(wanted)
        if self._is_busy():  # a camera may wait for the contours of the image in work
            self._heard_at = time.monotonic()
        silent = time.monotonic() - self._heard_at
        if silent >= SILENCE_BEFORE_WARNING:
            self._warn_of_silence(silent)

    def _warn_of_silence(self, seconds: float) -> None:
        """Warns once of each reason; new publishers get the same time as the first ones."""
        found = {
            name: self._node.get_publishers_info_by_topic(topic)
            for name, topic in self._topics.items()
        }
        reason = describe_silence(self._transport, self._topics, found, self._qos)
        if reason == self._reason:
            return
        if self._reason:
            self._reason, self._heard_at = "", time.monotonic()
            return
        self._reason = reason
        self._node.get_logger().warning(f"no image on {self.topic} for {seconds:.0f} s: {reason}")

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._qos = None

    def _subscribe(self, qos: QoSProfile) -> None:
        self._unsubscribe()
        self._qos, self._chosen = qos, qos.reliability
        try:
            self._subscription = self._node.create_subscription(
                TYPES[self._transport],
                self.topic,
                self._on_message,
                qos,
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
                qos_overriding_options=overriding(self._node, self.topic, "subscription"),
            )
        except RuntimeError:
            # The topic has another type in this process, which DDS does not allow. The warning
            # about silence names both types.
            self._qos = None

    def _on_incompatible(self, event: object) -> None:
        policy = QoSPolicyKind(getattr(event, "last_policy_kind", 0))
        followed = self._setting == "auto" and policy == QoSPolicyKind.RELIABILITY
        if self._qos is None or (followed and self._qos.reliability == self._chosen):
            return  # the next look at the publishers mends it
        self._node.get_logger().warning(describe_incompatible(self.topic, policy, self._qos))
