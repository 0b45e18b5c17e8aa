"""Instances among the candidate boxes of a detector of several strides, in a fixed number."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.model.structures import (
    STRIDE,
    Candidates,
    Features,
    Proposals,
    Seeds,
    cells_at,
)

SHORTLIST = 300
"""Candidates that duplicates are removed from, the best ones of all classes."""
NMS_IOU = 0.6
"""Of two boxes of one class that overlap by more, the better one stays (NanoDet-Plus)."""
NMS_ROUNDS = 4
"""Rounds of the suppression; three equal greedy suppression on most images."""


def decode_boxes(bins: Tensor, points: Tensor) -> Tensor:
    """Boxes from the distributions of their sides (Generalized Focal Loss, equation 5).

    Args:
        bins: [..., 4, bins, P] logits.
        points: [..., P, 3] (x, y, stride), input px.

    Returns:
        [..., P, 4] xyxy, input px, float32 or finer.
    """
    bins = bins.float() if bins.dtype.itemsize < 4 else bins
    distance = torch.arange(bins.shape[-2], device=bins.device, dtype=bins.dtype)
    sides = (bins.softmax(-2) * distance[:, None]).sum(-2).transpose(-1, -2)
    sides = sides * points[..., 2:]
    return torch.cat([points[..., :2] - sides[..., :2], points[..., :2] + sides[..., 2:]], -1)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of all pairs of boxes xyxy, [..., N, 4] and [..., M, 4] to [..., N, M]."""
    # Each axis alone: ONNX Runtime is slow at broadcasting to an innermost dimension of 2.
    width, height = (
        torch.minimum(a[..., :, None, axis + 2], b[..., None, :, axis + 2])
        - torch.maximum(a[..., :, None, axis], b[..., None, :, axis])
        for axis in range(2)
    )
    overlap = width.clamp(min=0) * height.clamp(min=0)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b))
    return overlap / (area_a[..., :, None] + area_b[..., None, :] - overlap).clamp(min=1e-6)


def cluster_nms(suppresses: Tensor, rounds: int) -> Tensor:
    """Non-maximum suppression of all boxes at once (Cluster-NMS, Zheng et al., 2021, algorithm 2).

    Every round forgets the suppressions of boxes that are suppressed themselves. The first round
    is fast NMS; as many rounds as there are boxes equal greedy NMS.

    Args:
        suppresses: [..., M, M] bool; box i would remove box j, which is worse.
        rounds: how many.

    Returns:
        [..., M] bool, the boxes that stay.
    """
    kept = torch.ones_like(suppresses[..., 0])
    for _ in range(rounds):
        kept = ~(suppresses & kept[..., :, None]).any(-2)
    return kept


def best_candidates(features: Features, max_instances: int) -> Proposals:
    """The best boxes without duplicates of their class; one place may give several classes.

    Args:
        features: of the batch, with candidates.
        max_instances: K; slots beyond the number of candidates have score 0.
    """
    assert features.candidates is not None
    logits, bins, points = features.candidates
    places = logits.shape[2]
    shortlist = min(SHORTLIST, logits.shape[1] * places)
    best, index = logits.flatten(1).topk(shortlist, dim=1)
    class_ids, place = index // places, index % places
    chosen = place[:, None, None].expand(-1, *bins.shape[1:3], -1)
    boxes = _clipped(decode_boxes(bins.gather(3, chosen), points[place]), features)
    order = torch.arange(shortlist, device=boxes.device)
    suppresses = (
        (pairwise_iou(boxes, boxes) > NMS_IOU)
        & (class_ids[:, :, None] == class_ids[:, None])
        & (order[:, None] < order)
    )
    scores = best.to(boxes.dtype).sigmoid() * cluster_nms(suppresses, NMS_ROUNDS)
    missing = max(0, max_instances - shortlist)
    scores, slot = F.pad(scores, (0, missing)).topk(max_instances, dim=1)
    class_ids = F.pad(class_ids, (0, missing)).gather(1, slot)
    # Not take_along_dim, which ties exported graphs to the size of the batch.
    boxes = F.pad(boxes, (0, 0, 0, missing)).gather(1, slot[..., None].expand(-1, -1, 4))
    cells = cells_at(features, (boxes[..., :2] + boxes[..., 2:]) / 2)
    return Proposals(Seeds(cells, boxes), scores, class_ids, boxes=boxes)


def _clipped(boxes: Tensor, features: Features) -> Tensor:
    rows, columns = features.grid
    x, y = boxes[..., 0::2], boxes[..., 1::2]
    x, y = x.clamp(0, columns * STRIDE), y.clamp(0, rows * STRIDE)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def boxes_found(candidates: Candidates, boxes: Tensor, class_ids: Tensor) -> Tensor:
    """The detector's best boxes of given objects.

    Args:
        candidates: of the batch.
        boxes: [B, K, 4] xyxy of the objects, input px.
        class_ids: [B, K].

    Returns:
        [B, K, 4], of each object the box with the best score for its class among those that
        overlap it by more than half; any box if there is none.
    """
    decoded = decode_boxes(candidates.bins, candidates.points)
    overlaps = pairwise_iou(boxes, decoded) > 0.5
    logits = candidates.logits.take_along_dim(class_ids[..., None], 1)
    place = torch.where(overlaps, logits, -torch.inf).argmax(2)
    return decoded.take_along_dim(place[..., None], 1)
