"""A group of managed publishers, of which each may fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from e2ec_ros.qos_overrides import overriding

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher


class Publishers:
    """Makes publishers on a node and takes them off again.

    Args:
        node: the node; its lifecycle decides whether managed publishers send.
        camera: one of several, whose topics are those of a node in its namespace; else empty.
    """

    def __init__(self, node: LifecycleNode, camera: str = "") -> None:
        self._node = node
        self._camera = camera
        self._warned: set[str] = set()
        self._managed: list[LifecyclePublisher[Any]] = []
        self._unmanaged: list[Publisher[Any]] = []

    def destroy(self) -> None:
        """Takes the publishers off the node."""
        for managed in self._managed:
            self._node.destroy_lifecycle_publisher(managed)
        for publisher in self._unmanaged:
            self._node.destroy_publisher(publisher)

    @property
    def topics(self) -> list[str]:
        """The full names of the managed publishers' topics."""
        return [publisher.topic_name for publisher in self._managed]

    @property
    def heard(self) -> bool:
        """Whether anybody subscribes to one of the managed publishers."""
        return any(publisher.get_subscription_count() for publisher in self._managed)

    def _managed_publisher(
        self, kind: type, topic: str, qos: QoSProfile
    ) -> LifecyclePublisher[Any]:
        full = self._topic(topic)
        publisher: LifecyclePublisher[Any] = self._node.create_lifecycle_publisher(
            kind,
            full,
            copy(qos),  # overriding writes into it
            qos_overriding_options=overriding(self._node, full, "publisher"),
        )
        self._managed.append(publisher)
        return publisher

    def _send_latched(self, message: Any, topic: str, qos: QoSProfile) -> None:
        """Sends one message that stays, in whatever state the node is.

        A managed publisher would swallow it, as the node is not active yet.
        """
        publisher = self._node.create_publisher(type(message), self._topic(topic), qos)
        self._unmanaged.append(publisher)
        publisher.publish(message)

    def _topic(self, topic: str) -> str:
        """The topic `~/...` of the camera."""
        private = f"{self._camera}/{self._node.get_name()}" if self._camera else "~"
        return topic.replace("~", private, 1)

    @contextmanager
    def _optional(self, what: str) -> Iterator[None]:
        """Lets one output fail alone and warns once: the contours of the frame are out already."""
        try:
            yield
        except Exception as error:
            if self._node.context.ok():
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self._warn(f"no {what}: {reason}")

    def _warn(self, text: str) -> None:
        """Warns once of each thing."""
        if text not in self._warned:
            self._warned.add(text)
            of_camera = f"{self._camera}: " if self._camera else ""
            self._node.get_logger().warning(of_camera + text)
