"""Contours as Foxglove's annotations, which its Image panel draws over the camera's image.

Import it only where foxglove_msgs is installed.
"""

from __future__ import annotations

import numpy as np
from foxglove_msgs.msg import Color, ImageAnnotations, Point2, PointsAnnotation, TextAnnotation
from numpy.typing import NDArray
from std_msgs.msg import Header

from e2ec_core.contours import Contours
from e2ec_ros.messages import ModelDescription

# Foxglove counts from the corner of the top-left pixel, contours from its centre.
TO_CORNER = 0.5  # px
_SMALLEST_TEXT = 12.0  # px


def image_annotations(
    contours: Contours,
    header: Header,
    model: ModelDescription,
    *,
    line_width: float,
    fill: float,
    labels: bool,
) -> ImageAnnotations:
    """Closed lines with class and score, the best last.

    Args:
        contours: the instances, source-image px.
        header: the image's, for the stamp.
        model: names and colours of the classes.
        line_width: px.
        fill: opacity of the insides, 0 to 1.
        labels: write class, track and score at the top of each contour.
    """
    font_size = max(_SMALLEST_TEXT, min(contours.image_size) / 40)
    message = ImageAnnotations()
    if hasattr(message, "timestamp"):  # newer than Jazzy's 3.0; annotations have their own
        message.timestamp = header.stamp
    for index in reversed(range(len(contours))):  # the best is drawn last
        vertices, class_id = contours.vertices[index] + TO_CORNER, int(contours.class_ids[index])
        message.points.append(
            PointsAnnotation(
                timestamp=header.stamp,
                type=PointsAnnotation.LINE_LOOP,
                points=_points(vertices),
                outline_color=_color(model.colors[class_id]),
                fill_color=_color(model.colors[class_id], fill),
                thickness=float(line_width),
            )
        )
        if labels:
            x, y = vertices[vertices[:, 1].argmin()].tolist()
            message.texts.append(
                TextAnnotation(
                    timestamp=header.stamp,
                    position=Point2(x=x, y=max(y, font_size)),  # inside the image
                    text=contours.label(index, model.class_names),
                    font_size=font_size,
                    text_color=_color(model.colors[class_id]),
                    background_color=_color((0, 0, 0)),
                )
            )
    return message


def _points(vertices: NDArray[np.floating]) -> list[Point2]:
    return [Point2(x=x, y=y) for x, y in vertices.tolist()]


def _color(rgb: tuple[int, int, int], alpha: float = 1.0) -> Color:
    red, green, blue = (channel / 255 for channel in rgb)
    return Color(r=red, g=green, b=blue, a=alpha)
