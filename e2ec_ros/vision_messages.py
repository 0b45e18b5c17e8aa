"""Contours as `vision_msgs`: boxes for consumers who know no contours, and the class table.

Import it only where vision_msgs (4.0 or newer) is installed.
"""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from e2ec_core.contours import Contours
from e2ec_ros.messages import ModelDescription


def detection_array(
    contours: Contours, header: Header, model: ModelDescription
) -> Detection2DArray:
    """One detection per object, in the order of the contours.

    `class_id` is the class's name, as RViz's vision_msgs plugins expect it. Boxes are in px of the
    source image, (0, 0) the centre of its top-left pixel; the box of an object with several
    contours encloses them all. `id` is the track's id, empty without tracks; poses are unknown.
    """
    boxes = contours.boxes_xyxy
    detections = []
    for group in contours.by_instance():
        first = group[0]
        low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
        found = ObjectHypothesisWithPose()
        found.hypothesis.class_id = model.class_names[contours.class_ids[first]]
        found.hypothesis.score = float(contours.scores[first])
        detection = Detection2D(header=header, results=[found])
        if contours.track_ids is not None:
            detection.id = str(contours.track_ids[first])
        position = detection.bbox.center.position
        position.x, position.y = np.float64((low + high) / 2).tolist()
        detection.bbox.size_x, detection.bbox.size_y = np.float64(high - low).tolist()
        detections.append(detection)
    return Detection2DArray(header=header, detections=detections)


def label_info(header: Header, model: ModelDescription, score_threshold: float) -> LabelInfo:
    """The table of the ids in the class image."""
    table = [
        VisionClass(class_id=number, class_name=name)
        for number, name in enumerate(model.class_names)
    ]
    return LabelInfo(header=header, class_map=table, threshold=score_threshold)
