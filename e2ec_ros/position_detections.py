"""Positions as `vision_msgs/Detection3DArray`.

Import it only where vision_msgs (4.0 or newer) is installed.
"""

from __future__ import annotations

import numpy as np
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from e2ec_ros.msg import InstancePosition, InstancePositionArray


def detection_array_3d(positions: InstancePositionArray) -> Detection3DArray:
    """One detection for each object that was located, in the frame of the positions; m.

    `class_id` is the class's name, as RViz's vision_msgs plugins expect it. The box encloses the
    points, so it ends where the sensor sees no farther; its axes are those of the camera. The
    hypothesis's pose is the position, with the squared spread as its covariance; the orientation
    is unknown. `id` is the track's id, empty without tracks.
    """
    detections = []
    for instance in positions.instances:
        if not instance.points:
            continue
        found = ObjectHypothesisWithPose()
        found.hypothesis.class_id = instance.class_name
        found.hypothesis.score = float(instance.score)
        found.pose.pose.position = instance.position
        spread = instance.spread
        found.pose.covariance[[0, 7, 14]] = np.square([spread.x, spread.y, spread.z])
        detection = Detection3D(header=positions.header, results=[found])
        if instance.track_id != InstancePosition.NO_TRACK:
            detection.id = str(instance.track_id)
        box = detection.bbox
        for axis in "xyz":
            low, high = getattr(instance.low, axis), getattr(instance.high, axis)
            setattr(box.center.position, axis, (low + high) / 2)
            setattr(box.size, axis, high - low)
        detections.append(detection)
    return Detection3DArray(header=positions.header, detections=detections)
