"""Losses of the lite preset against the objects' masks: region mask, soft IoU of the contour."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.losses import Counts, mean_over_valid
from e2ec_core.model.sampling import place_in_boxes, unit_grid
from e2ec_core.model.structures import Region

IOU_CELLS = 16
"""Cells per side in which the IoU loss draws its points."""


def read_masks(masks: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
    """Reads masks at points by bilinear interpolation; outside its box a mask is 0.

    Args:
        masks: [B, K, S, S], each over its own box.
        boxes: [B, K, 4] xyxy, input px.
        points: [B, K, P, 2] (x, y), input px.

    Returns:
        [B, K, P] in 0..1.
    """
    batch, slots, count, _ = points.shape
    low = boxes[:, :, None, :2]
    size = (boxes[:, :, None, 2:] - low).clamp(min=1.0)
    grid = (2 * (points - low) / size - 1).view(batch * slots, count, 1, 2)
    read = F.grid_sample(masks.flatten(0, 1)[:, None], grid, align_corners=False)
    return read.view(batch, slots, count)


def frame_points(frame: Tensor, cells: int, *, jitter: Tensor | None = None) -> Tensor:
    """Grid over a frame, [B, K, cells * cells, 2] input px, row by row.

    Args:
        frame: [B, K, 4] xyxy, input px.
        cells: points per side; they lie at the centres of equal cells.
        jitter: where in its cell each point lies, [B, K, cells * cells, 2] in 0..1; None puts it
            in the middle.
    """
    unit = unit_grid(cells, cells, frame).expand(*frame.shape[:2], -1, -1)
    if jitter is not None:
        unit = unit + (jitter - 0.5) / cells
    return place_in_boxes(unit, frame)


def region_mask_loss(
    region: Region,
    masks: Tensor,
    boxes: Tensor,
    valid: Tensor,
    *,
    counts: Counts | None = None,
) -> Tensor:
    """Binary cross-entropy plus Dice loss of the auxiliary region masks.

    Args:
        region: of the seeds.
        masks: [B, K, S, S] true masks, each over its own true box.
        boxes: [B, K, 4] true boxes, input px.
        valid: bool [B, K].
        counts: of the step that this batch is a part of, see `losses`.
    """
    cells = region.mask.shape[-1]
    target = read_masks(masks, boxes, frame_points(region.frame, cells))
    logits = region.mask.flatten(2)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(2)
    score = logits.sigmoid()
    overlap = (score * target).sum(2)
    dice = 1 - (2 * overlap + 1) / (score.sum(2) + target.sum(2) + 1)
    return mean_over_valid(cross_entropy + dice, valid, counts)


def contour_iou_loss(
    contour: Tensor,
    masks: Tensor,
    boxes: Tensor,
    frame: Tensor,
    valid: Tensor,
    *,
    cells: int = IOU_CELLS,
    softness: float = 0.03,
    jitter: Tensor | None = None,
    counts: Counts | None = None,
) -> Tensor:
    """1 - IoU of the contour's softened inside with the true mask, at random points of the frame.

    Args:
        contour: [B, K, N, 2] input px.
        masks: [B, K, S, S] true masks, each over its own true box.
        boxes: [B, K, 4] true boxes, input px.
        frame: [B, K, 4] where points are drawn, input px.
        valid: bool [B, K].
        cells: one point is drawn in each of cells x cells.
        softness: distance from the contour over which inside fades, in units of the frame.
        jitter: as in `frame_points`.
        counts: of the step that this batch is a part of, see `losses`.
    """
    points = frame_points(frame, cells, jitter=jitter)
    target = read_masks(masks, boxes, points)
    size = (frame[:, :, None, 2:] - frame[:, :, None, :2]).clamp(min=1.0)
    inside = torch.sigmoid(signed_distance(points / size, contour / size) / softness)
    overlap = (inside * target).sum(2)
    union = (inside + target - inside * target).sum(2)
    return mean_over_valid(1 - (overlap + 0.1) / (union + 0.1), valid, counts)


def signed_distance(points: Tensor, contour: Tensor) -> Tensor:
    """Distance to the nearest edge of a closed contour, positive inside (even-odd rule).

    Args:
        points: [..., P, 2].
        contour: [..., N, 2].

    Returns:
        [..., P]; the gradient reaches the nearest edge's two vertices.
    """
    start, end = contour[..., None, :, :], contour.roll(-1, dims=-2)[..., None, :, :]
    point = points[..., :, None, :]
    with torch.no_grad():
        inside = _is_inside(point, start, end)
        nearest = _edge_distance2(point, start, end).argmin(-1)
    index = nearest[..., None].expand(*nearest.shape, 2)
    a, b = contour.gather(-2, index), contour.roll(-1, dims=-2).gather(-2, index)
    distance = (_edge_distance2(points, a, b) + 1e-12).sqrt()
    return torch.where(inside, distance, -distance)


def _edge_distance2(point: Tensor, start: Tensor, end: Tensor) -> Tensor:
    edge, arm = end - start, point - start
    along = (arm * edge).sum(-1) / edge.square().sum(-1).clamp(min=1e-12)
    return (arm - along.clamp(0, 1)[..., None] * edge).square().sum(-1)


def _is_inside(point: Tensor, start: Tensor, end: Tensor) -> Tensor:
    crosses = (start[..., 1] > point[..., 1]) != (end[..., 1] > point[..., 1])
    rise = end[..., 1] - start[..., 1]
    rise = torch.where(rise == 0, torch.ones_like(rise), rise)
    x = start[..., 0] + (point[..., 1] - start[..., 1]) * (end[..., 0] - start[..., 0]) / rise
    return (crosses & (point[..., 0] < x)).sum(-1) % 2 == 1
