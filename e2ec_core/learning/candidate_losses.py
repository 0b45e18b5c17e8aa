"""Losses of a detector that gives candidate boxes, as NanoDet-Plus is trained.

Which candidates learn which object is decided by cost in every step (SimOTA: YOLOX, Ge et al.,
2021; with soft labels as in RTMDet, Lyu et al., 2022). Scores learn the overlap (quality focal
loss), sides a distribution (distribution focal loss; both Generalized Focal Loss, Li et al.,
2020) and boxes the GIoU (Rezatofighi et al., 2019).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.losses import Counts
from e2ec_core.learning.samples import Samples
from e2ec_core.model.candidates import decode_boxes, pairwise_iou
from e2ec_core.model.structures import Candidates

_MOST_POSITIVES = 13
"""Of the candidates that overlap an object most, the sum of whose IoU says how many learn it."""
_FAR = 1e6


class Assignment(NamedTuple):
    """Which object each candidate learns.

    Attributes:
        target: [B, P] int64, position of the object.
        iou: [B, P], overlap with it; 0 where the candidate learns that nothing is there.
        positive: [B, P] bool.
    """

    target: Tensor
    iou: Tensor
    positive: Tensor


def assign(
    candidates: Candidates, decoded: Tensor, boxes: Tensor, class_ids: Tensor, valid: Tensor
) -> Assignment:
    """Chooses the candidates that learn each object: those in its box that cost least.

    The cost of a pair is the score's distance from the overlap, three times the negative logarithm
    of the overlap, and the distance of point and centre.

    Args:
        candidates: of the batch.
        decoded: [B, P, 4] boxes of the candidates, input px.
        boxes: [B, L, 4] xyxy of the objects, input px.
        class_ids: [B, L].
        valid: [B, L] bool.
    """
    iou = pairwise_iou(boxes, decoded)
    points = candidates.points
    x, y = points[:, 0], points[:, 1]
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    inside = (x > low[..., 0]) & (x < high[..., 0]) & (y > low[..., 1]) & (y < high[..., 1])
    allowed = inside & valid[..., None]
    iou = torch.where(allowed, iou, 0.0)
    logits = candidates.logits.float().take_along_dim(class_ids[..., None], 1)
    score = F.binary_cross_entropy_with_logits(logits, iou, reduction="none")
    score = score * (iou - logits.sigmoid()).square()
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (points[:, :2] - centre[..., None, :]).norm(dim=-1) / points[:, 2]
    cost = score - 3 * (iou + 1e-7).log() + 10 ** (distance.clamp(max=9) - 3)
    cost = torch.where(allowed, cost, _FAR)
    most = min(_MOST_POSITIVES, cost.shape[2])
    count = iou.topk(most, dim=2).values.sum(2).int().clamp(min=1)
    ranked, index = cost.topk(most, dim=2, largest=False)
    chosen = (torch.arange(most, device=cost.device) < count[..., None]) & (ranked < _FAR)
    # Of several objects the one that costs least is learnt.
    learnt = torch.full_like(cost, _FAR).scatter(2, index, torch.where(chosen, ranked, _FAR))
    least, target = learnt.min(dim=1)
    positive = least < _FAR
    overlap = iou.gather(1, target[:, None])[:, 0]
    return Assignment(target, torch.where(positive, overlap, 0.0), positive)


def candidate_losses(
    candidates: Candidates, batch: Samples, *, counts: Counts | None = None
) -> dict[str, Tensor]:
    """Losses of scores, boxes and sides, each summed and divided by the number of objects.

    Args:
        candidates: of the batch.
        batch: with whole objects.
        counts: of the step that this batch is a part of, see `losses`.

    Returns:
        `scores`, `boxes` and `sides`, unweighted scalars.
    """
    candidates = candidates._replace(
        logits=candidates.logits.float(), bins=candidates.bins.float()
    )
    decoded = decode_boxes(candidates.bins, candidates.points)
    objects = batch.object_valid.sum() if counts is None else counts.objects
    with torch.no_grad():
        found = assign(
            *(candidates, decoded, batch.object_boxes),
            *(batch.object_class_ids, batch.object_valid),
        )
    class_ids = batch.object_class_ids.gather(1, found.target)
    quality = torch.zeros_like(candidates.logits)
    quality = quality.scatter(1, class_ids[:, None], found.iou[:, None])
    scores = quality_focal_loss(candidates.logits, quality).sum()
    true = batch.object_boxes.take_along_dim(found.target[..., None], 1)
    boxes = ((1 - generalized_iou(decoded, true)) * found.iou).sum()
    sides = (_side_loss(candidates, true) * found.iou).sum()
    terms = {"scores": scores, "boxes": boxes, "sides": sides}
    return {name: term / objects.clamp(min=1) for name, term in terms.items()}


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross-entropy with a soft label, times the squared error (Generalized Focal Loss, eq. 4).

    Args:
        logits: any shape.
        quality: 0..1, same shape.

    Returns:
        same shape.
    """
    loss = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return loss * (quality - logits.sigmoid()).square()


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of paired boxes xyxy, [..., 4] and [..., 4] to [...], in -1..1."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    overlap = shared.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    area = around.prod(-1).clamp(min=1e-6)
    return overlap / union.clamp(min=1e-6) - (area - union) / area


def _side_loss(candidates: Candidates, true: Tensor) -> Tensor:
    """Distribution focal loss (Generalized Focal Loss, equation 6), mean of the sides, [B, P]."""
    points, count = candidates.points, candidates.bins.shape[2]
    sides = torch.cat([points[:, :2] - true[..., :2], true[..., 2:] - points[:, :2]], -1)
    sides = (sides / points[:, 2:]).clamp(0, count - 1 - 1e-3).transpose(1, 2)  # [B, 4, P]
    low = sides.floor()
    logs = candidates.bins.log_softmax(2)
    index = low.long()[:, :, None]
    below, above = (logs.gather(2, i)[:, :, 0] for i in (index, index + 1))
    return -((low + 1 - sides) * below + (sides - low) * above).mean(1)
