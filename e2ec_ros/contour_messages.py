"""For those who read contours: arrays from received `InstanceContourArray` messages.

It needs NumPy and nothing else: no PyTorch, no OpenCV, no model. Pixels are those of the image
that the message's header names; x runs right, y down, and (0, 0) is the centre of the top-left
pixel. Arrays stand in the order of `message.instances`, best first.

    def on_contours(message):
        for instance, box in zip(message.instances, boxes_of(message)):
            print(instance.class_name, box, vertices_of(instance).shape)
        labels = label_image_of(message)
        depth_of_best = np.median(depth[labels == 1])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2ec_core.geometry import contours_to_masks, paint_contours

if TYPE_CHECKING:
    from e2ec_ros.msg import InstanceContour, InstanceContourArray


def vertices_of(instance: InstanceContour) -> NDArray[np.float32]:
    """The contour as float32 [N, 2] (x, y), px, counter-clockwise on the screen; a view."""
    return np.frombuffer(instance.contour, np.float32).reshape(-1, 2)


def amodal_vertices_of(instance: InstanceContour) -> NDArray[np.float32]:
    """The amodal contour as `vertices_of`; [0, 2] where the message has none."""
    return np.frombuffer(instance.amodal_contour, np.float32).reshape(-1, 2)


def boxes_of(message: InstanceContourArray) -> NDArray[np.float32]:
    """Bounding boxes of the contours, float32 [K, 4] (x_min, y_min, x_max, y_max), px."""
    boxes = [instance.box for instance in message.instances]
    return np.array(boxes, np.float32).reshape(-1, 4)


def groups_of(message: InstanceContourArray) -> list[list[int]]:
    """Positions of the contours of each object, objects in the order of their first contours.

    Every contour is an object of its own, unless the model finds the parts of objects.
    """
    groups: dict[int, list[int]] = {}
    for position, instance in enumerate(message.instances):
        groups.setdefault(instance.instance_id, []).append(position)
    return list(groups.values())


def masks_of(message: InstanceContourArray) -> NDArray[np.bool_]:
    """The insides of the contours, bool [K, H, W].

    A pixel is set if its centre lies inside. Contours that overlap share pixels. An object of
    several contours is `masks[group].any(axis=0)` for its `group` of `groups_of`.
    """
    contours = [vertices_of(instance) for instance in message.instances]
    return contours_to_masks(contours, message.height, message.width)


def label_image_of(message: InstanceContourArray) -> NDArray[np.uint16]:
    """Which instance is seen at every pixel, uint16 [H, W]; as the topic `~/labels/image`.

    0 is background and i + 1 is `message.instances[i]`, for an object of several contours the
    first of them. Where contours overlap, the better instance is in front.
    """
    image = np.zeros((message.height, message.width), np.uint16)
    contours = [vertices_of(instance) for instance in message.instances]
    first = {i: group[0] for group in groups_of(message) for i in group}
    paint_contours(image, contours, [first[i] + 1 for i in range(len(contours))])
    return image
