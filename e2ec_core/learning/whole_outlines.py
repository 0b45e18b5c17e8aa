"""Amodal outlines to learn from: labelled ones, and those of objects that nothing hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from e2ec_core.data.labelled import Instance, Truth
from e2ec_core.geometry import (
    align_contour,
    bounding_box,
    clean_polygon,
    clip_polygon,
    join_polygons,
    key_vertices,
    signed_area,
)
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.targets import TargetSettings, key_tolerance

_GAP = 3
"""Px that must lie between two labelled objects for neither to hide a part of the other."""

_HARDLY = 0.03
"""Hidden share below which an object counts as seen whole."""


def with_assumed_whole(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """Takes the outlines of objects that nothing labelled touches for their whole outlines.

    That is not known of other objects: they keep None. What hides an object need not be labelled,
    so some outlines are wrong, as are those of objects that touch what they hide and are left out.

    Args:
        instances: of one image, image px.
    """
    return tuple(
        instance
        if instance.whole or instance.crowd or len(instance.parts) > 1 or not alone
        else replace(instance, whole=instance.parts, truth=Truth())
        for instance, alone in zip(instances, _alone(instances), strict=True)
    )


def worth_learning(instance: Instance) -> float:
    """How much an object teaches amodal outlines: 2 if partly hidden, 1 if whole, 0 if unknown."""
    if not instance.whole:
        return 0.0
    seen, whole = (
        sum(abs(signed_area(part)) for part in parts) for parts in (instance.parts, instance.whole)
    )
    return 2.0 if seen < (1 - _HARDLY) * whole else 1.0


def _alone(instances: Sequence[Instance]) -> list[bool]:
    """Whether no other object comes near, of each."""
    if not instances:
        return []
    boxes = np.stack([instance.box_xyxy for instance in instances])
    low, high = boxes[:, :2] - _GAP, boxes[:, 2:] + _GAP
    near = np.logical_and((low[:, None] < high).all(2), (low < high[:, None]).all(2))
    return [
        not any(_touch(one, instances[j]) for j in np.flatnonzero(near[i]).tolist() if j != i)
        for i, one in enumerate(instances)
    ]


def _touch(one: Instance, other: Instance) -> bool:
    """Whether two objects come nearer than `_GAP` px."""
    boxes = one.box_xyxy, other.box_xyxy
    low = np.maximum(boxes[0][:2], boxes[1][:2]) - 2 * _GAP
    high = np.minimum(boxes[0][2:], boxes[1][2:]) + 2 * _GAP
    width, height = np.ceil(high - low).astype(int).tolist()
    first, second = (_paint(o, low, (height, width)) for o in (one, other))
    wide = cv2.dilate(first, np.ones((2 * _GAP + 1, 2 * _GAP + 1), np.uint8))
    return bool(np.logical_and(wide, second).any())


def _paint(
    instance: Instance, origin: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    mask = np.zeros(size, np.uint8)
    for part in instance.parts:
        cv2.fillPoly(mask, [np.round(part - origin).astype(np.int32)], 1)
    return mask


def add_whole_outlines(
    sample: Samples,
    instances: Sequence[Instance],
    input_size: tuple[int, int],
    settings: TargetSettings,
) -> Samples:
    """Adds the amodal contours of the objects whose whole outline is known.

    Args:
        sample: with its slots filled.
        instances: those that the slots' `instance_ids` mean, view px.
        input_size: (height, width) of the view, px.
        settings: as of the visible contours.
    """
    slots, vertices = sample.contours.shape[:2]
    contours = torch.zeros(slots, vertices, 2)
    keys = torch.zeros(slots, vertices, dtype=torch.bool)
    boxes = torch.zeros(slots, 4)
    valid = torch.zeros(slots, dtype=torch.bool)
    room = 1.0 - settings.border
    for slot in np.flatnonzero(sample.valid.numpy()).tolist():
        whole = instances[int(sample.instance_ids[slot])].whole
        if not whole:
            continue
        outline = clip_polygon(join_polygons(whole), input_size[1] + room, input_size[0] + room)
        polygon = clean_polygon(outline)
        if len(polygon) < 3:
            continue
        contour = align_contour(polygon, vertices, settings.directions, settings.alignment)
        box = bounding_box(polygon)
        contours[slot] = torch.from_numpy(contour)
        keys[slot] = torch.from_numpy(key_vertices(contour, key_tolerance(box, settings)))
        boxes[slot] = torch.from_numpy(box)
        valid[slot] = True
    return sample._replace(
        whole_contours=contours, whole_keys=keys, whole_boxes=boxes, whole_valid=valid
    )
