"""Losses of the amodal outlines that a model finds beside the visible ones."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from e2ec_core.learning.config import LossConfig
from e2ec_core.learning.losses import Counts, contour_losses
from e2ec_core.learning.region_losses import contour_iou_loss, region_mask_loss
from e2ec_core.learning.samples import Samples
from e2ec_core.model.lite.region import enlarge
from e2ec_core.model.structures import WholeContours

_FRAME = 1.25
"""Size of the frame in which contours and masks are compared, over the size of the whole box."""


def whole_losses(
    visible: Tensor,
    found: WholeContours,
    batch: Samples,
    config: LossConfig,
    *,
    epoch: int,
    scale: Tensor | None,
    counts: Counts | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Terms of the loss, unweighted, and their weighted sum.

    Slots whose amodal outline is not known count nothing.

    Args:
        visible: the contours that the amodal ones begin at, [B, K, N, 2] input px.
        found: what the model made of them.
        batch: with the true outlines.
        config: factors, as of the visible outlines.
        epoch: decides which loss the last stage has.
        scale: units of the contours' losses, [B, K, 2] px; None for px.
        counts: of the step that this batch is a part of.
    """
    valid = batch.valid & batch.whole_valid
    counts = counts and counts._replace(instances=counts.whole, keys=counts.whole_keys)
    contours = contour_losses(
        [visible.detach(), *found.stages],
        batch.whole_contours,
        batch.whole_keys,
        valid,
        last_stage=config.last_stage_in(epoch),
        weights=dataclasses.replace(config.weights, initial=0.0),
        scale=scale,
        matching_beta=config.matching_beta,
        counts=counts,
    )
    true = batch.whole_masks, batch.whole_boxes
    mask = region_mask_loss(found.region, *true, valid, counts=counts)
    frame = enlarge(batch.whole_boxes, _FRAME)
    iou = contour_iou_loss(
        found.contour, *true, frame, valid, jitter=batch.point_noise, counts=counts
    )
    terms = {
        "amodal_coarse": contours.coarse,
        "amodal_evolution": contours.evolutions[-1],
        "amodal_mask": mask,
        "amodal_iou": iou,
    }
    return terms, contours.total + config.mask * mask + config.contour_iou * iou
