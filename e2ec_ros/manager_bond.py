"""A bond with Nav2's lifecycle manager, which so notices a node that died or hangs."""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node

TOPIC = "bond"  # Nav2's
PERIOD = 0.1  # s between heartbeats, Nav2's
TIMEOUT = 4.0  # s without a heartbeat; told to the other side, which has a time of its own
DEPTH = 10


class ManagerBond:
    """Sends heartbeats from the node's executor until it ends or the manager breaks it.

    Speaks the protocol of ROS's bond_core, of which it needs the messages alone.

    Args:
        node: the node; its name is the bond's.

    Raises:
        ValueError: the messages are not installed; one line that names the remedy.
    """

    def __init__(self, node: Node) -> None:
        try:
            from bond.msg import Status
        except ImportError as error:
            raise ValueError(
                f"a bond needs the package bond ({error}): apt install ros-DISTRO-bond, or set "
                "bond to false, and bond_timeout of the lifecycle manager to 0.0"
            ) from error
        self._node = node
        self._message = Status(
            id=node.get_name(),
            instance_id=str(uuid.uuid4()),
            heartbeat_period=PERIOD,
            heartbeat_timeout=TIMEOUT,
        )
        self._publisher = node.create_publisher(Status, TOPIC, DEPTH)
        self._subscription = node.create_subscription(Status, TOPIC, self._on_status, DEPTH)
        self._timer = node.create_timer(
            PERIOD, lambda: self._send(active=True), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def end(self) -> None:
        """Tells the manager that this end was meant, and takes everything off the node."""
        if not self._timer.is_canceled() and self._node.context.ok():
            self._send(active=False)
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _send(self, *, active: bool) -> None:
        self._message.header.stamp = self._node.get_clock().now().to_msg()
        self._message.active = active
        self._publisher.publish(self._message)

    def _on_status(self, message: Any) -> None:
        """Answers a manager that breaks the bond, and falls silent."""
        same = message.id == self._message.id
        own = message.instance_id == self._message.instance_id
        if same and not own and not message.active and not self._timer.is_canceled():
            self._timer.cancel()
            self._send(active=False)
