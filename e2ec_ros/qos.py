"""Choosing a quality of service for the input, and saying what is wrong when none fits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

from e2ec_ros.distro import FAST_DDS_PROFILE

MESSAGE_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
_FIXES = {
    QoSPolicyKind.RELIABILITY: "set input.qos to auto, and no qos_overrides of it",
    QoSPolicyKind.DURABILITY: "take the durability out of qos_overrides",
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


def of_transport(
    transport: str, publishers: Sequence[TopicEndpointInfo]
) -> list[TopicEndpointInfo]:
    """Returns the publishers whose message type belongs to an `image_transport`."""
    return [one for one in publishers if one.topic_type == MESSAGE_TYPES[transport]]


def describe_incompatible(topic: str, policy: QoSPolicyKind, used: QoSProfile) -> str:
    """One line for an incompatible-QoS event: what does not fit, and what to set."""
    fix = _FIXES.get(policy, "compare both sides with `ros2 topic info --verbose`")
    return (
        f"a publisher of {topic} offers a {policy.name.lower()} that this subscription "
        f"({used.reliability.name.lower()}, {used.durability.name.lower()}) cannot use; {fix}"
    )


def describe_silence(
    transport: str,
    topics: Mapping[str, str],
    publishers: Mapping[str, Sequence[TopicEndpointInfo]],
    used: QoSProfile | None,
) -> str:
    """Says why no image comes, and what to set.

    Args:
        transport: the `image_transport` parameter.
        topics: transport to its topic.
        publishers: transport to who publishes on its topic, of whatever type.
        used: the subscription's profile; None without a subscription.
    """
    here = publishers[transport]
    fitting = of_transport(transport, here)
    if fitting and used is not None:
        return _describe_loss(fitting, used)
    if fitting:
        return "the subscription could not be made; run the node in a process of its own"
    (other,) = set(MESSAGE_TYPES) - {transport}
    if of_transport(other, publishers[other]):
        return (
            f"nobody publishes {MESSAGE_TYPES[transport]} there, but {topics[other]} carries "
            f"{MESSAGE_TYPES[other]}; set image_transport to {other}"
        )
    if not here:
        return "nobody publishes there; remap `image` to the camera's topic"
    carried = ", ".join(sorted({one.topic_type for one in here}))
    fix = "remap `image` to a topic of that type"
    if of_transport(other, here):
        topic = topics[transport]
        base = topic.removesuffix("/compressed")
        if other == "raw":
            fix = f"set image_transport to raw and remap `image` to {topic}"
        elif base != topic:
            fix = f"set image_transport to compressed and remap `image` to {base}"
        else:
            fix = f"set image_transport to compressed and remap `{topic}/compressed` to {topic}"
    return f"it carries {carried}, and this node reads {MESSAGE_TYPES[transport]}; {fix}"


def _describe_loss(publishers: Sequence[TopicEndpointInfo], used: QoSProfile) -> str:
    """Says what can be wrong where publishers and subscription fit."""
    offers = ", ".join(one.qos_profile.reliability.name.lower() for one in publishers)
    sides = "the publisher too" if os.environ.get(FAST_DDS_PROFILE) else "both sides"
    return (
        f"somebody publishes there ({offers}; this node: {used.reliability.name.lower()}); if "
        "images are sent, large ones get lost in Fast DDS's default shared memory: start "
        f"{sides} with config/fastdds_shm.xml"
    )
