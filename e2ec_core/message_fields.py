"""What the message `e2ec_ros/InstanceContour` says of each contour; the node and bags share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours

NO_TRACK = -1
"""The `track_id` of contours that are not tracked."""


def instance_fields(
    contours: Contours, class_names: Sequence[str], *, amodal: bool
) -> Iterator[dict[str, Any]]:
    """The fields of the message for each contour, in their order (falling score).

    Args:
        contours: of one image, inside it.
        class_names: name of each class id.
        amodal: whether the contours include occluded parts.

    Yields:
        values by the names of the message; `contour` and `amodal_contour` are float32 [N, 2].
    """
    boxes = contours.boxes_xyxy.astype(np.float32)
    truncated = touches_border(boxes, contours.image_size)
    ids, tracks = contours.instance_ids, contours.track_ids
    whole, hidden = contours.amodal_vertices, contours.hidden
    nothing = np.zeros((0, 2), np.float32)
    rows = zip(
        contours.vertices,
        contours.scores.tolist(),
        contours.class_ids.tolist(),
        boxes,
        contours.areas.tolist(),
        truncated.tolist(),
        range(len(contours)) if ids is None else ids.tolist(),
        repeat(NO_TRACK, len(contours)) if tracks is None else tracks.tolist(),
        repeat(nothing, len(contours)) if whole is None else whole,
        repeat(0.0, len(contours)) if hidden is None else hidden.tolist(),
        strict=True,
    )
    for vertices, score, class_id, box, area, cut, instance_id, track_id, behind, share in rows:
        yield {
            "class_id": class_id,
            "class_name": class_names[class_id],
            "score": score,
            "track_id": track_id,
            "instance_id": instance_id,
            "box": box,
            "contour": vertices,
            "area": area,
            "amodal": amodal,
            "truncated": cut,
            "amodal_contour": behind,
            "hidden": share,
        }


def touches_border(
    boxes_xyxy: NDArray[np.float32], image_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether each box [K, 4] (px) reaches the outermost row or column of (height, width)."""
    height, width = image_size
    low = boxes_xyxy[:, :2].min(axis=1, initial=np.inf) <= 0.5
    high = (boxes_xyxy[:, 2:] >= np.array([width - 1.5, height - 1.5])).any(axis=1)
    return np.asarray(low | high, np.bool_)
