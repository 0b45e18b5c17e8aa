"""The total loss of one batch."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.component_losses import component_losses
from e2ec_core.learning.config import LossConfig
from e2ec_core.learning.losses import (
    Counts,
    contour_losses,
    count_targets,
    heatmap_focal_loss,
    mean_over_valid,
)
from e2ec_core.learning.region_losses import contour_iou_loss, region_mask_loss
from e2ec_core.learning.views import Batch
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import STRIDE, Features, Seeds, gather_cells, plant_seeds


def batch_counts(batch: Batch) -> Counts:
    """What the losses of a batch divide by."""
    targets = batch.targets
    whole = targets.components
    return count_targets(
        targets.heatmap,
        targets.keys,
        targets.valid,
        objects=None if whole is None else whole.valid,
        component_heat=None if whole is None else whole.heat,
    )


def plant_training_seeds(features: Features, batch: Batch) -> Seeds:
    """Seeds at the true centres; with a box head, under boxes as uncertain as in use.

    What is random in it comes with the batch.

    Half of the boxes are the detector's own where they resemble the true ones (IoU above 0.5),
    the others are true boxes with every side moved by up to 8 % or so of the box's size. Boxes of
    components are all of the second kind, since the detector's enclose whole objects.
    """
    targets = batch.targets
    if features.box_sides is None:
        return Seeds(cells=targets.cells, valid=targets.valid)
    predicted = plant_seeds(features, targets.cells).boxes
    assert predicted is not None
    size = targets.boxes[..., 2:] - targets.boxes[..., :2]
    noise = batch.noise.boxes.clamp(-2.5, 2.5) * 0.05
    jittered = targets.boxes + noise * size.repeat(1, 1, 2)
    similar = box_iou(predicted, targets.boxes) > 0.5
    chosen = similar & (batch.noise.choices < 0.5)
    if targets.components is not None:
        chosen = torch.zeros_like(chosen)
    boxes = torch.where(chosen[..., None], predicted.detach(), jittered)
    safe = torch.tensor([0.0, 0.0, 32.0, 32.0], device=boxes.device).expand_as(boxes)
    boxes = torch.where(targets.valid[..., None], boxes, safe)
    return Seeds(cells=targets.cells, boxes=boxes, valid=targets.valid)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of paired boxes xyxy, [..., 4] and [..., 4] to [...]."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return overlap / (areas - overlap).clamp(min=1e-6)


def _box_loss(features: Features, batch: Batch, counts: Counts | None) -> Tensor:
    assert features.box_sides is not None
    targets = batch.targets.components or batch.targets
    counts = counts and counts._replace(instances=counts.objects)
    centres = targets.cells * STRIDE
    sides = torch.cat([centres - targets.boxes[..., :2], targets.boxes[..., 2:] - centres], -1)
    size = (targets.boxes[..., 2:] - targets.boxes[..., :2]).clamp(min=8).repeat(1, 1, 2)
    error = (gather_cells(features.box_sides, targets.cells) - sides) / size * 16
    loss = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean(-1)
    return mean_over_valid(loss, targets.valid, counts)


def batch_losses(
    model: E2EC,
    batch: Batch,
    config: LossConfig,
    *,
    epoch: int,
    train_detector: bool,
    counts: Counts | None = None,
) -> dict[str, Tensor]:
    """Terms of the loss, unweighted, and `total`.

    Args:
        model: in training mode.
        batch: on the model's device.
        config: which terms count how much.
        epoch: decides which loss the last stage has.
        train_detector: False runs the detector without gradient and leaves out its losses.
        counts: of the step that this batch is a part of; the parts' terms add up to the step's.
    """
    with torch.set_grad_enabled(train_detector and torch.is_grad_enabled()):
        features = model.detect(batch.images)
    targets = batch.targets
    seeds = model.encode_regions(features, plant_training_seeds(features, batch))
    stages = model.grow(features, seeds, clip=False)
    size = (targets.boxes[..., 2:] - targets.boxes[..., :2]).clamp(min=8.0)
    weights = config.weights
    if model.deformation is None:  # the coarse contour is the initial one, which has its own loss
        weights = dataclasses.replace(weights, coarse=0.0)
    contours = contour_losses(
        stages,
        targets.contours,
        targets.keys,
        targets.valid,
        last_stage=config.last_stage_in(epoch),
        last_evolutions=config.matched_evolutions,
        initial_target=model.initial_target(targets.contours),
        weights=weights,
        scale=size / 64 if config.box_units else None,
        matching_beta=config.matching_beta,
        counts=counts,
    )
    terms = {"initial": contours.initial}
    if model.deformation is not None:
        terms["coarse"] = contours.coarse
    terms |= {f"evolution{i + 1}": term for i, term in enumerate(contours.evolutions)}
    total = contours.total
    if train_detector:
        terms["heatmap"] = heatmap_focal_loss(features.heatmap, targets.heatmap, counts=counts)
        total = total + config.weights.heatmap * terms["heatmap"]
        if features.box_sides is not None:
            terms["box"] = _box_loss(features, batch, counts)
            total = total + config.box * terms["box"]
    if model.component_head is not None and targets.components is not None:
        head = model.component_head
        terms |= component_losses(head, features, targets.components, counts=counts)
        total = total + config.component_heat * terms["component_heat"]
        total = total + config.component_size * terms["component_size"]
    if seeds.region is not None:
        terms["mask"] = region_mask_loss(
            seeds.region, batch.masks, targets.boxes, targets.valid, counts=counts
        )
        total = total + config.mask * terms["mask"]
        terms["iou"] = contour_iou_loss(
            stages[-1],
            batch.masks,
            targets.boxes,
            seeds.region.frame,
            targets.valid,
            jitter=batch.noise.points,
            counts=counts,
        )
        total = total + config.contour_iou * terms["iou"]
    return terms | {"total": total}
