"""The total loss of one batch."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.candidate_losses import candidate_losses
from e2ec_core.learning.component_losses import component_losses
from e2ec_core.learning.config import LossConfig
from e2ec_core.learning.losses import (
    ContourLosses,
    Counts,
    contour_losses,
    count_targets,
    heatmap_focal_loss,
    mean_over_valid,
)
from e2ec_core.learning.region_losses import contour_iou_loss, region_mask_loss
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.whole_losses import whole_losses
from e2ec_core.model.candidates import boxes_found
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.sampling import gather_cells
from e2ec_core.model.structures import STRIDE, Features, Seeds, plant_seeds


def batch_counts(batch: Samples) -> Counts:
    """What the losses of a batch divide by."""
    has_objects = batch.object_valid.shape[1] > 0
    has_parts = has_objects and batch.object_heat.shape[-1] > 0
    return count_targets(
        batch.heatmap,
        batch.keys,
        batch.valid,
        objects=batch.object_valid if has_objects else None,
        component_heat=batch.object_heat if has_parts else None,
        whole=(batch.whole_valid, batch.whole_keys) if batch.whole_keys.shape[2] else None,
    )


def plant_training_seeds(features: Features, batch: Samples, *, parts: bool = False) -> Seeds:
    """Seeds at the true centres; with a box head, under boxes as uncertain as in use.

    The random numbers are part of the batch, so that a step can be repeated.

    Half of the boxes are the detector's own where they resemble the true ones (IoU above 0.5),
    the others are true boxes with every side moved by up to 8 % or so of the box's size. Boxes of
    components are all of the second kind, since the detector's enclose whole objects.

    Args:
        features: of the batch.
        batch: with the true boxes.
        parts: whether the contours are those of components.
    """
    if not features.has_boxes:
        return Seeds(cells=batch.cells, valid=batch.valid)
    if features.candidates is not None:
        predicted = boxes_found(features.candidates, batch.boxes, batch.class_ids)
    else:
        at_cells = plant_seeds(features, batch.cells).boxes
        assert at_cells is not None
        predicted = at_cells
    size = batch.boxes[..., 2:] - batch.boxes[..., :2]
    noise = batch.box_noise.clamp(-2.5, 2.5) * 0.05
    boxes = batch.boxes + noise * size.repeat(1, 1, 2)
    if not parts:
        chosen = (box_iou(predicted, batch.boxes) > 0.5)[..., None] & (batch.box_choice < 0.5)
        boxes = torch.where(chosen, predicted.detach(), boxes)
    # In unused slots any box of a usual size.
    safe = boxes.new_zeros(4)
    safe[2:] = 32.0
    boxes = torch.where(batch.valid[..., None], boxes, safe)
    return Seeds(cells=batch.cells, boxes=boxes, valid=batch.valid)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of paired boxes xyxy, [..., 4] and [..., 4] to [...]."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return overlap / (areas - overlap).clamp(min=1e-6)


def _box_loss(features: Features, batch: Samples, counts: Counts | None) -> Tensor:
    assert features.box_sides is not None
    cells, boxes, valid = batch.cells, batch.boxes, batch.valid
    if batch.object_valid.shape[1]:
        cells, boxes, valid = batch.object_cells, batch.object_boxes, batch.object_valid
    counts = counts and counts._replace(instances=counts.objects)
    centres = cells * STRIDE
    sides = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], -1)
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=8).repeat(1, 1, 2)
    error = (gather_cells(features.box_sides, cells) - sides) / size * 16
    loss = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean(-1)
    return mean_over_valid(loss, valid, counts)


def batch_losses(
    model: E2EC,
    batch: Samples,
    config: LossConfig,
    *,
    epoch: int,
    train_detector: bool,
    counts: Counts | None = None,
) -> dict[str, Tensor]:
    """Terms of the loss, unweighted, and `total`. Each part of the model that exists has terms.

    Args:
        model: in training mode.
        batch: on the model's device.
        config: which terms count how much.
        epoch: decides which loss the last stage has.
        train_detector: False runs the detector without gradient and leaves out its losses.
        counts: of the step that this batch is a part of; the parts' terms add up to the step's.
    """
    features = model.detect(batch.image, learn=train_detector)
    parts = model.component_head is not None
    seeds = model.encode_regions(features, plant_training_seeds(features, batch, parts=parts))
    stages = model.grow(features, seeds, clip=False)
    terms: dict[str, Tensor] = {}
    total = stages[-1].new_zeros(())
    weighted: dict[str, tuple[float, Tensor]] = {}
    # A second outline can learn beside a first one that stays as it is.
    learns = model.amodal is None or any(p.requires_grad for p in model.initial.parameters())
    if learns:
        contours = _contour_losses(model, stages, batch, config, epoch, counts)
        total = contours.total
        terms["initial"] = contours.initial
        if model.deformation is not None:
            terms["coarse"] = contours.coarse
        terms |= {f"evolution{i + 1}": term for i, term in enumerate(contours.evolutions)}
    if model.amodal is not None:
        whole = model.amodal(features, seeds, stages[-1])
        scale = _units(batch, config)
        own, weighted_sum = whole_losses(
            stages[-1], whole, batch, config, epoch=epoch, scale=scale, counts=counts
        )
        terms |= own
        total = total + weighted_sum
    if train_detector:
        if features.heatmap is not None:
            heatmap = heatmap_focal_loss(features.heatmap, batch.heatmap, counts=counts)
            weighted["heatmap"] = config.weights.heatmap, heatmap
        if features.candidates is not None:
            found = candidate_losses(features.candidates, batch, counts=counts)
            for name, factor in (("scores", 1.0), ("boxes", 2.0), ("sides", 0.25)):
                weighted[name] = config.detection * factor, found[name]
        if features.box_sides is not None:
            weighted["box"] = config.box, _box_loss(features, batch, counts)
    if model.component_head is not None:
        found = component_losses(model.component_head, features, batch, counts=counts)
        weighted["component_heat"] = config.component_heat, found["component_heat"]
        weighted["component_size"] = config.component_size, found["component_size"]
    if seeds.region is not None and learns:
        true = batch.masks, batch.boxes
        mask = region_mask_loss(seeds.region, *true, batch.valid, counts=counts)
        iou = contour_iou_loss(
            stages[-1],
            *true,
            seeds.region.frame,
            batch.valid,
            jitter=batch.point_noise,
            counts=counts,
        )
        weighted |= {"mask": (config.mask, mask), "iou": (config.contour_iou, iou)}
    for factor, term in weighted.values():
        total = total + factor * term
    return terms | {name: term for name, (_, term) in weighted.items()} | {"total": total}


def _units(batch: Samples, config: LossConfig) -> Tensor | None:
    """What contours are measured in, [B, K, 2] px: 1/64 of their boxes; None for px."""
    if not config.box_units:
        return None
    return (batch.boxes[..., 2:] - batch.boxes[..., :2]).clamp(min=8.0) / 64


def _contour_losses(
    model: E2EC,
    stages: list[Tensor],
    batch: Samples,
    config: LossConfig,
    epoch: int,
    counts: Counts | None,
) -> ContourLosses:
    weights = config.weights
    if model.deformation is None:  # the coarse contour is the initial one, which has its own loss
        weights = dataclasses.replace(weights, coarse=0.0)
    return contour_losses(
        stages,
        batch.contours,
        batch.keys,
        batch.valid,
        last_stage=config.last_stage_in(epoch),
        last_evolutions=config.matched_evolutions,
        initial_target=model.initial_target(batch.contours),
        weights=weights,
        scale=_units(batch, config),
        matching_beta=config.matching_beta,
        counts=counts,
    )
