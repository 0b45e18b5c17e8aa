"""Choosing a quality of service for the input, and saying what is wrong when none fits."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

_FIXES = {
    QoSPolicyKind.RELIABILITY: "set input.qos to best_effort or auto",
    QoSPolicyKind.DURABILITY: "make the publisher's durability volatile or transient local",
    QoSPolicyKind.DEADLINE: "take the deadline off the publisher",
    QoSPolicyKind.LIVELINESS: "make the publisher's liveliness automatic",
}


def newest_only(reliability: QoSReliabilityPolicy) -> QoSProfile:
    """Volatile, depth 1: a consumer of live images has no use for older ones."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=reliability,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def latched(depth: int = 1) -> QoSProfile:
    """Reliable, transient local: who subscribes later gets the last `depth` messages."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
    )


def choose_input(setting: str, publishers: Sequence[TopicEndpointInfo]) -> QoSProfile | None:
    """The profile to subscribe to images with.

    A reliable reader gets nothing from a best-effort writer, and a best-effort reader loses large
    images that a reliable one would get, so `auto` follows the publishers.

    Args:
        setting: the `input.qos` parameter.
        publishers: who publishes on the topic now.

    Returns:
        the profile; None when `auto` has nobody to follow yet.
    """
    if setting == "reliable":
        return newest_only(QoSReliabilityPolicy.RELIABLE)
    if setting in ("best_effort", "sensor_data"):
        return newest_only(QoSReliabilityPolicy.BEST_EFFORT)
    if not publishers:
        return None
    reliabilities = {publisher.qos_profile.reliability for publisher in publishers}
    if reliabilities == {QoSReliabilityPolicy.RELIABLE}:
        return newest_only(QoSReliabilityPolicy.RELIABLE)
    return newest_only(QoSReliabilityPolicy.BEST_EFFORT)


def describe_incompatible(topic: str, policy: QoSPolicyKind, used: QoSProfile) -> str:
    """One line for an incompatible-QoS event: what does not fit, and what to set."""
    fix = _FIXES.get(policy, "compare both sides with `ros2 topic info --verbose`")
    return (
        f"a publisher of {topic} offers a {policy.name.lower()} that this subscription "
        f"({used.reliability.name.lower()}, {used.durability.name.lower()}) cannot use; {fix}"
    )


def describe_silence(
    topic: str, seconds: float, publishers: Sequence[TopicEndpointInfo], used: QoSProfile | None
) -> str:
    """One line for a topic on which no image came for a while."""
    if not publishers:
        return (
            f"no image on {topic} for {seconds:.0f} s and nobody publishes there; "
            "remap `image` to the camera's topic"
        )
    offers = ", ".join(publisher.qos_profile.reliability.name.lower() for publisher in publishers)
    own = used.reliability.name.lower() if used else "not subscribed yet"
    return (
        f"no image on {topic} for {seconds:.0f} s though somebody publishes there ({offers}; this "
        f"node: {own}); if they do come, large ones get lost in Fast DDS's default shared "
        "memory: start both sides with config/fastdds_shm.xml"
    )
