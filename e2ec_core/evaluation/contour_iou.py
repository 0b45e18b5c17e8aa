"""IoU of contours with the masks of the objects they were grown for.

With contours grown from the true boxes (or centres) this measures the contour stages alone,
without the detector; on small test sets it is the steadiest figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.geometry import clip_far, contours_to_rle

Rle = dict[str, Any]


def annotation_to_rle(annotation: Mapping[str, Any], height: int, width: int) -> Rle:
    """Mask of a COCO annotation (polygons, RLE or uncompressed RLE) of an image of this size.

    Raises:
        ValueError: the annotation has no segmentation.
    """
    from pycocotools import mask as coco_mask

    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise ValueError(f"annotation {annotation.get('id')} has no segmentation")
    if isinstance(segmentation, list):
        polygons = (np.reshape(flat, (-1, 2)).astype(np.float64) for flat in segmentation)
        near = [clip_far(polygon, height, width).ravel().tolist() for polygon in polygons]
        return cast(Rle, coco_mask.merge(coco_mask.frPyObjects(near, height, width)))
    if isinstance(segmentation["counts"], list):
        return cast(Rle, coco_mask.frPyObjects(segmentation, height, width))
    return cast(Rle, dict(segmentation))


def contour_ious(contours: ArrayLike, masks: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of each contour with its own mask.

    Args:
        contours: [K, N, 2] (x, y) in image px.
        masks: K COCO RLE masks of one image, in the same order.

    Returns:
        float64 [K] in 0..1.

    Raises:
        ValueError: different numbers of contours and masks.
    """
    from pycocotools import mask as coco_mask

    vertices = np.asarray(contours, dtype=np.float64)
    if len(vertices) != len(masks):
        raise ValueError(f"received {len(vertices)} contours for {len(masks)} masks")
    if not len(masks):
        return np.zeros(0)
    height, width = masks[0]["size"]
    found = contours_to_rle(vertices, height, width)
    pairs = zip(found, masks, strict=True)
    return np.array([float(coco_mask.iou([a], [b], [0])[0, 0]) for a, b in pairs])
