"""Positions as RViz markers: a box around the points of each object, and its distance in words."""

from __future__ import annotations

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from visualization_msgs.msg import Marker, MarkerArray

from e2ec_core.colors import class_color
from e2ec_ros.markers import clear_markers
from e2ec_ros.messages import color_message
from e2ec_ros.msg import InstancePosition, InstancePositionArray

THINNEST = 0.05  # m; RViz does not draw a box without depth
ALPHA = 0.4
TEXT_HEIGHT = 0.4  # m


def position_markers(positions: InstancePositionArray, lifetime: float) -> MarkerArray:
    """A CUBE and a text for each object that was located, after a DELETEALL.

    Args:
        positions: the objects; markers stand in the frame of their header.
        lifetime: s after which RViz removes the markers; 0: the next message replaces them.

    Returns:
        the markers; namespaces are class names, and those of the texts end with `/text`.
    """
    markers = clear_markers(positions.header).markers
    duration = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
    for instance in positions.instances:
        if not instance.points:
            continue
        low, high = instance.low, instance.high
        sides = (high.x - low.x, high.y - low.y, high.z - low.z)
        x, y, z = (max(side, THINNEST) for side in sides)
        color = class_color(instance.class_id)
        common = {"header": positions.header, "id": instance.index, "lifetime": duration}
        markers.append(
            Marker(
                **common,
                ns=instance.class_name,
                type=Marker.CUBE,
                pose=_pose((low.x + high.x) / 2, (low.y + high.y) / 2, (low.z + high.z) / 2),
                scale=Vector3(x=x, y=y, z=z),
                color=color_message(color, ALPHA),
            )
        )
        markers.append(
            Marker(
                **common,
                ns=f"{instance.class_name}/text",
                type=Marker.TEXT_VIEW_FACING,
                pose=_pose((low.x + high.x) / 2, low.y - TEXT_HEIGHT, (low.z + high.z) / 2),
                scale=Vector3(z=TEXT_HEIGHT),
                color=color_message(color),
                text=caption(instance),
            )
        )
    return MarkerArray(markers=markers)


def caption(instance: InstancePosition) -> str:
    """Class, track and distance of the near side: `car 7 12.3 m`."""
    track = "" if instance.track_id == InstancePosition.NO_TRACK else f" {instance.track_id}"
    return f"{instance.class_name}{track} {instance.near:.1f} m"


def _pose(x: float, y: float, z: float) -> Pose:
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
