"""Contours as RViz markers: line strips on the rays of the camera, at a fixed depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from e2ec_core.contours import HARDLY_HIDDEN, Contours
from e2ec_ros.calibration import Calibration
from e2ec_ros.messages import ModelDescription, color_message

TEXT_HEIGHT = 14.0  # image px


def contour_markers(
    contours: Contours,
    model: ModelDescription,
    header: Header,
    calibration: Calibration,
    *,
    rectified: bool,
    depth: float,
    line_width: float,
    max_vertices: int,
    lifetime: float,
) -> MarkerArray:
    """Builds one closed LINE_STRIP per instance, after a DELETEALL.

    Hidden objects have their amodal contour too, half transparent, in namespace `CLASS amodal`.
    Tracked ones have `#TRACK` above them, in namespace `CLASS/text`.

    Args:
        contours: the instances, source-image px.
        model: names and colours of the classes.
        header: the image's; markers stand in its optical frame.
        calibration: of the camera, for images of this size.
        rectified: the image is free of distortion; else each vertex is undistorted.
        depth: z of every point, m.
        line_width: width of the lines, image px.
        max_vertices: longer contours are thinned to about this many vertices.
        lifetime: s after which RViz removes the markers; 0: the next message replaces them.

    Returns:
        the markers; namespaces are class names, so RViz can switch classes off. Contours with a
        vertex whose ray cannot be found are left out.

    Raises:
        ValueError: the distortion model is unknown.
    """
    pixel = depth / float(calibration.projection[0, 0])  # m, at the markers' depth
    duration = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
    markers = clear_markers(header).markers

    def place(vertices: NDArray[np.float32]) -> NDArray[np.float64]:
        pixels = vertices[:: -(-len(vertices) // max_vertices)]  # ceiling division
        pixels = pixels if rectified else calibration.rectified(pixels)
        return project_to_depth(pixels, calibration.projection, depth)

    def add(index: int, suffix: str, alpha: float, **fields: Any) -> None:
        class_id = int(contours.class_ids[index])
        name, color = model.class_names[class_id] + suffix, model.colors[class_id]
        marker = Marker(header=header, ns=name, id=index, lifetime=duration, **fields)
        marker.color = color_message(color, alpha)
        marker.pose.orientation.w = 1.0
        markers.append(marker)

    def add_line(points: NDArray[np.float64], index: int, suffix: str, alpha: float) -> None:
        width = Vector3(x=pixel * line_width)
        add(index, suffix, alpha, type=Marker.LINE_STRIP, scale=width, points=_closed(points))

    def add_text(top: NDArray[np.float64], index: int, text: str) -> None:
        height = pixel * TEXT_HEIGHT
        x, y, z = top.tolist()
        pose = Pose(position=Point(x=x, y=y - height, z=z))
        scale = Vector3(z=height)
        add(index, "/text", 1.0, type=Marker.TEXT_VIEW_FACING, pose=pose, scale=scale, text=text)

    hidden = contours.hidden
    for index in range(len(contours)):
        points = place(contours.vertices[index])
        if np.isfinite(points).all():
            add_line(points, index, "", 1.0)
            if contours.track_ids is not None:
                # No spaces, which RViz draws wide whatever the size of the text.
                add_text(points[points[:, 1].argmin()], index, f"#{contours.track_ids[index]}")
        if hidden is not None and hidden[index] >= HARDLY_HIDDEN:
            assert contours.amodal_vertices is not None
            points = place(contours.amodal_vertices[index])
            if np.isfinite(points).all():
                add_line(points, index, " amodal", 0.5)
    return MarkerArray(markers=markers)


def clear_markers(header: Header) -> MarkerArray:
    """Builds the message that removes all markers of its topic."""
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def project_to_depth(
    pixels: NDArray[np.floating], projection: NDArray[np.float64], depth: float
) -> NDArray[np.float64]:
    """Finds the points at z = `depth` that a projection matrix maps onto the given pixels.

    Args:
        pixels: [..., 2] (x, y), px.
        projection: P of CameraInfo, [3, 4]; its fourth column (stereo baseline) is honoured.
        depth: z, m.

    Returns:
        float64 [..., 3], m, optical frame (x right, y down, z forward).
    """
    p = projection
    w = depth + p[2, 3]
    y = (pixels[..., 1] * w - p[1, 2] * depth - p[1, 3]) / p[1, 1]
    x = (pixels[..., 0] * w - p[0, 1] * y - p[0, 2] * depth - p[0, 3]) / p[0, 0]
    return np.stack([x, y, np.full_like(x, depth)], axis=-1)


def _closed(points: NDArray[np.float64]) -> list[Point]:
    """[N, 3] as messages, the first point once more at the end."""
    rows = [*points.tolist(), points[0].tolist()]
    return [Point(x=x, y=y, z=z) for x, y, z in rows]
