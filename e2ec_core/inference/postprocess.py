"""Optional clean-up of contours after the network, as published."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours

PUBLISHED_NMS_IOU = 0.7


def box_iou(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes, without the +1 of pixel counts.

    Args:
        boxes_xyxy: [K, 4] (x1, y1, x2, y2).

    Returns:
        float64 [K, K]; 0 where both boxes are empty.
    """
    boxes = boxes_xyxy.astype(np.float64)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = areas[:, None] + areas - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def fast_nms(
    boxes_xyxy: NDArray[np.floating],
    scores: NDArray[np.floating],
    class_ids: NDArray[np.integer],
    *,
    iou_threshold: float = PUBLISHED_NMS_IOU,
) -> NDArray[np.int64]:
    """Fast NMS (YOLACT, Bolya et al., ICCV 2019) on the contours' boxes, class by class.

    An instance goes when any better one of its class overlaps it, even one that itself goes.
    Classes are told apart by their ids; the published code shifts boxes by class instead, which
    lets classes meet when coordinates are negative.

    Args:
        boxes_xyxy: [K, 4] (x1, y1, x2, y2).
        scores: [K].
        class_ids: [K].
        iou_threshold: instances with this IoU or more go.

    Returns:
        Indices of the instances that stay, by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    same_class = class_ids[order][:, None] == class_ids[order]
    iou = np.triu(box_iou(boxes_xyxy[order]) * same_class, k=1)
    stays: NDArray[np.int64] = order[iou.max(axis=0, initial=0.0) < iou_threshold]
    return stays


def distinct(contours: Contours, iou_threshold: float = PUBLISHED_NMS_IOU) -> NDArray[np.int64]:
    """Indices left by NMS of whole instances, whose boxes enclose all their contours.

    Args:
        contours: of one image, best first.
        iou_threshold: see `fast_nms`; 1 keeps all.
    """
    if iou_threshold == 1:
        return np.arange(len(contours))
    groups, boxes = contours.by_instance(), contours.boxes_xyxy
    first = np.array([group[0] for group in groups], np.int64)
    around = [[*boxes[g, :2].min(axis=0), *boxes[g, 2:].max(axis=0)] for g in groups]
    stays = fast_nms(
        np.reshape(np.array(around, np.float32), (-1, 4)),
        contours.scores[first],
        contours.class_ids[first],
        iou_threshold=iou_threshold,
    )
    return np.concatenate([first[:0], *(groups[i] for i in stays)])
