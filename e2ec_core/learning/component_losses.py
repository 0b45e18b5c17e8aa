"""Losses of the component head: parts of an object on a grid over its box."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.losses import Counts, heatmap_focal_loss
from e2ec_core.learning.samples import Samples
from e2ec_core.model.component_detection import ComponentHead
from e2ec_core.model.structures import Features


def component_losses(
    head: ComponentHead,
    features: Features,
    batch: Samples,
    *,
    counts: Counts | None = None,
) -> dict[str, Tensor]:
    """Focal loss of the component centres and smooth L1 of their sizes, in the true boxes.

    Args:
        head: of the model.
        features: of the batch.
        batch: with the targets of whole objects.
        counts: of the step that this batch is a part of, see `losses`.

    Returns:
        `component_heat` and `component_size`, unweighted scalars.
    """
    maps = head(features, batch.object_boxes)
    heat = heatmap_focal_loss(
        maps.heat,
        batch.object_heat,
        weight=batch.object_valid[..., None, None],
        counts=counts and counts._replace(centres=counts.components),
    )
    at_centre = batch.object_heat == 1
    error = F.smooth_l1_loss(maps.size.float(), batch.object_sizes, reduction="none").mean(2)
    centres = at_centre.sum() if counts is None else counts.components
    size = torch.where(at_centre, error, 0.0).sum() / centres.clamp(min=1)
    return {"component_heat": heat, "component_size": size}
