"""What differs between ROS distributions, told by what their rclpy has, not by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.parameter import Parameter

from e2ec_ros.resources import resource

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = [
    "FAST_DDS_PROFILE",
    "SubscriptionEventCallbacks",
    "add_parameter_callbacks",
    "attempt_transition",
    "dds_environment",
]

T = TypeVar("T")

# Fast DDS 3 warns about the old name, Fast DDS 2 does not know the new one. That came with Kilted,
# as did `with rclpy.init()`.
FAST_DDS_PROFILE = (
    "FASTDDS_DEFAULT_PROFILES_FILE"
    if hasattr(rclpy, "InitContextManager")
    else "FASTRTPS_DEFAULT_PROFILES_FILE"
)
"""The environment variable that names the Fast DDS profile."""


def dds_environment() -> dict[str, str]:
    """Environment variables that make Fast DDS carry camera images through shared memory."""
    return {FAST_DDS_PROFILE: str(resource("config/fastdds_shm.xml"))}


def add_parameter_callbacks(
    node: Node,
    *,
    convert: Callable[[Sequence[Parameter[Any]]], list[Parameter[Any]]],
    judge: Callable[[Sequence[Parameter[Any]]], SetParametersResult],
    take: Callable[[Sequence[Parameter[Any]]], None],
) -> None:
    """Has a node's parameters converted, then judged, then taken when all judges agreed.

    Humble knows judges alone: there nothing is converted, and accepted values are taken before
    later judges have spoken.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_pre_set_parameters_callback(convert)
        node.add_on_set_parameters_callback(judge)
        node.add_post_set_parameters_callback(take)
        return

    def judge_and_take(changed: Sequence[Parameter[Any]]) -> SetParametersResult:
        result = judge(changed)
        if result.successful:
            take(changed)
        return result

    node.add_on_set_parameters_callback(judge_and_take)


def attempt_transition(node: Node, transition: Callable[[], T], refused: T) -> T:
    """Returns what a lifecycle transition returns, or `refused` where the state does not allow it.

    Before Kilted, rclpy raises then, and that would end the node.
    """
    try:
        return transition()
    except rclpy_implementation.RCLError as error:
        node.get_logger().error(f"no such transition from this state: {error}")
        return refused
