"""Contours as RViz markers: line strips on the rays of the camera, at a fixed depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from e2ec_core.contours import Contours
from e2ec_ros.messages import ModelDescription, color_message

LIFETIME = Duration(sec=0, nanosec=500_000_000)


def can_project(info: CameraInfo | None, image_size: tuple[int, int]) -> bool:
    """Whether the CameraInfo is calibrated and belongs to images of (height, width)."""
    if info is None or info.p[0] == 0.0 or info.p[5] == 0.0:
        return False
    return (info.height, info.width) == image_size


def contour_markers(
    contours: Contours,
    model: ModelDescription,
    header: Header,
    info: CameraInfo,
    *,
    depth: float,
    line_width: float,
    max_vertices: int,
) -> MarkerArray:
    """One closed LINE_STRIP per instance, after a DELETEALL.

    Args:
        contours: the instances, source-image px.
        model: names and colours of the classes.
        header: the image's; markers stand in its optical frame.
        info: its projection matrix P (3x4) is used, so the image should be a rectified one.
        depth: z of every point, m.
        line_width: width of the lines, image px.
        max_vertices: longer contours are thinned to about this many vertices.

    Returns:
        the markers; namespaces are class names, so RViz can switch classes off.
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    step = -(-contours.vertices.shape[1] // max_vertices)  # ceiling division
    points = project_to_depth(contours.vertices[:, ::step], info.p, depth)
    for index, class_id in enumerate(contours.class_ids.tolist()):
        marker = Marker(
            header=header,
            ns=model.class_names[class_id],
            id=index,
            type=Marker.LINE_STRIP,
            action=Marker.ADD,
            color=color_message(model.colors[class_id]),
            lifetime=LIFETIME,
            points=_closed(points[index]),
        )
        marker.pose.orientation.w = 1.0
        marker.scale.x = depth * line_width / float(info.p[0])
        markers.append(marker)
    return MarkerArray(markers=markers)


def project_to_depth(
    pixels: NDArray[np.floating], projection: Sequence[float], depth: float
) -> NDArray[np.float64]:
    """Points at z = `depth` that a projection matrix maps onto the given pixels.

    Args:
        pixels: [..., 2] (x, y), px.
        projection: P of CameraInfo, 12 numbers, row-major 3x4; its fourth column (stereo
            baseline) is honoured.
        depth: z, m.

    Returns:
        float64 [..., 3], m, optical frame (x right, y down, z forward).
    """
    p = np.asarray(projection, np.float64).reshape(3, 4)
    w = depth + p[2, 3]
    y = (pixels[..., 1] * w - p[1, 2] * depth - p[1, 3]) / p[1, 1]
    x = (pixels[..., 0] * w - p[0, 1] * y - p[0, 2] * depth - p[0, 3]) / p[0, 0]
    return np.stack([x, y, np.full_like(x, depth)], axis=-1)


def _closed(points: NDArray[np.float64]) -> list[Point]:
    """[N, 3] as messages, the first point once more at the end."""
    rows = [*points.tolist(), points[0].tolist()]
    return [Point(x=x, y=y, z=z) for x, y, z in rows]
