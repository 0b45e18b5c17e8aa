"""ROS's parameters `qos_overrides.TOPIC.publisher.depth` and its like, for this node's topics.

rclpy declares and applies them; here they are asked for where they are given, and checked before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

Entity = Literal["publisher", "subscription"]
PREFIX = "qos_overrides."
POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
CHOICES = {
    "history": ("keep_last", "keep_all"),
    "reliability": ("reliable", "best_effort"),
    "durability": ("volatile", "transient_local"),
}
LARGEST_DEPTH = 10_000


def overriding(node: Node, topic: str, entity: Entity) -> QoSOverridingOptions | None:
    """What a publisher or subscription is to be made with; None where nothing is overridden.

    Args:
        node: the node.
        topic: as it is given to the publisher or subscription; remapping is followed.
        entity: which of the two.
    """
    resolved = node.resolve_topic_name(topic)
    if any((resolved, entity) == (where, kind) for _, where, kind, _, _ in _given(node)):
        return QoSOverridingOptions(POLICIES)
    return None


def require_possible_overrides(node: Node) -> None:
    """Raises ValueError, one line, for a value or a policy that cannot be."""
    for name, _, _, policy, value in _given(node):
        if policy == "depth":
            possible = type(value) is int and 1 <= value <= LARGEST_DEPTH
            accepted = f"1 to {LARGEST_DEPTH}"
        elif policy in CHOICES:
            possible = value in CHOICES[policy]
            accepted = " or ".join(CHOICES[policy])
        else:
            known = ", ".join(sorted(["depth", *CHOICES]))
            raise ValueError(f"parameter {name} is for {policy!r}; give one of {known}")
        if not possible:
            raise ValueError(f"parameter {name} is {value!r}; give {accepted}")


def warn_of_unused_overrides(
    node: Node, publishers: Iterable[str], subscriptions: Iterable[str]
) -> None:
    """Logs the overrides of topics that are not among these full names."""
    used = {(topic, "publisher") for topic in publishers}
    used |= {(topic, "subscription") for topic in subscriptions}
    for name, topic, entity, _, _ in _given(node):
        if (topic, entity) not in used:
            known = ", ".join(sorted(topic for topic, kind in used if kind == entity))
            node.get_logger().warning(
                f"parameter {name} is ignored: this node has no {entity} there"
                + (f", but on {known}" if known else "; give publisher or subscription")
            )


def _given(node: Node) -> Iterator[tuple[str, str, str, str, Any]]:
    """Yields name, topic, entity, policy and value of each override."""
    for name, parameter in node._parameter_overrides.items():  # rclpy has no public way to them
        if name.startswith(PREFIX):
            parts = name.removeprefix(PREFIX).rsplit(".", 2)
            topic, entity, policy = (["", "", *parts])[-3:]
            yield name, topic, entity, policy, parameter.value
