"""How a label file means its coordinates: their unit and order, and whether boxes agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Annotation
from e2ec_core.data.outlines import UNITS, as_points, as_polygons, read_parts
from e2ec_core.data.problems import Problems

Size = tuple[int, int]
Box = tuple[float, float, float, float]
_SAMPLE = 100
"""Annotations at least that are looked at, where there are as many."""
_MOST = 0.9
_FEW = 3
_SLACK = 0.05
_CLEAR_SIDE = 200
"""Px from which a side of an image is clearly longer than 100 px."""
LEAST_IOU = 0.5
"""Below which a bbox does not fit its outline."""


class Reading(NamedTuple):
    """How outlines are read."""

    repair: str | None = None
    """What `read_parts` must do: `SHARES`, `PERCENT` or `EXCHANGED`; None for px."""
    misfit: str = defects.BOX
    """The problem that a bbox is which does not fit its outline."""


def find_reading(labels: Sequence[tuple[Annotation, Size]], problems: Problems) -> Reading:
    """Finds how the outlines of one kind, polygons or run lengths, are meant.

    Polygons that nearly all lie in 0..1 are shares of the image's size. Where most boxes do not
    fit their outlines, another reading of the outlines counts if it makes nearly all of them fit,
    and no other reading of the boxes does.

    Args:
        labels: annotations, with (height, width) of their images in px of the labels.
        problems: where doubts are counted.
    """
    sample = labels[:: len(labels) // _SAMPLE + 1]
    polygons = [points for label in sample for points in _polygons(label[0])]
    if _within(polygons, UNITS[defects.SHARES]) >= _MOST:
        return Reading(defects.SHARES)
    boxed = [label for label in sample if label[0].bbox]
    if _fitting(boxed, None, _as_given) < 0.5:
        if any(_fitting(boxed, None, box) >= _MOST for box in (_of_corners, _of_shares)):
            return Reading()
        for repair in (defects.EXCHANGED, defects.PERCENT):
            if len(boxed) >= _FEW and _fitting(boxed, repair, _as_given) >= _MOST:
                return Reading(repair)
        return Reading(misfit=defects.MOST_BOXES)
    wide = [p for a, size in sample if min(size) >= _CLEAR_SIDE for p in _polygons(a)]
    if len(wide) > _FEW and _within(wide, UNITS[defects.PERCENT]) == 1:
        x, y = np.concatenate(wide).max(axis=0).tolist()
        problems.note(defects.MAYBE_PERCENT, f"x to {x:g}, y to {y:g}")
    return Reading()


def _polygons(annotation: Annotation) -> list[NDArray[np.float64]]:
    if not isinstance(annotation.segmentation, list):
        return []
    points = map(as_points, as_polygons(annotation.segmentation))
    return [p for p in points if p is not None]


def _within(polygons: Sequence[NDArray[np.float64]], unit: float) -> float:
    """Share of the polygons that lie in 0..unit, but for a slip; 0 where there is none."""
    reach = (0.5 + _SLACK) * unit
    inside = [bool((np.abs(points - unit / 2) <= reach).all()) for points in polygons]
    return float(np.mean(inside)) if inside else 0.0


def _fitting(
    labels: Sequence[tuple[Annotation, Size]],
    repair: str | None,
    as_box: Callable[[Box, Size], Box],
) -> float:
    """Share of the boxes that fit their outlines in a reading of both; 1 where there is none."""
    fits = []
    for annotation, size in labels:
        parts = read_parts(annotation.segmentation, size, Problems(), "", repair)
        if parts and annotation.bbox:
            points = np.concatenate(parts)
            around = np.concatenate([points.min(axis=0), points.max(axis=0)])
            fits.append(box_iou(as_box(annotation.bbox, size), around) >= LEAST_IOU)
        elif repair:  # which has made nothing of it
            fits.append(False)
    return float(np.mean(fits)) if fits else 1.0


def _as_given(bbox: Box, _: Size) -> Box:
    return bbox


def _of_corners(bbox: Box, _: Size) -> Box:
    return bbox[0], bbox[1], max(bbox[2] - bbox[0], 0.0), max(bbox[3] - bbox[1], 0.0)


def _of_shares(bbox: Box, size: Size) -> Box:
    return bbox[0] * size[1], bbox[1] * size[0], bbox[2] * size[1], bbox[3] * size[0]


def box_iou(bbox: Box, box_xyxy: NDArray[np.float64]) -> float:
    """IoU of a box x, y, width, height and one of two corners, [4]; 0 where one has no area."""
    left, top, width, height = bbox
    x1, y1, x2, y2 = box_xyxy.tolist()
    across = min(left + width, x2) - max(left, x1)
    down = min(top + height, y2) - max(top, y1)
    common = max(across, 0.0) * max(down, 0.0)
    return common / (width * height + (x2 - x1) * (y2 - y1) - common)
