"""Targets and losses of the component head: parts of an object on a grid over its box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.heatmaps import draw_gaussian, gaussian_radius
from e2ec_core.learning.losses import Counts, heatmap_focal_loss
from e2ec_core.model.component_detection import GRID, ComponentHead
from e2ec_core.model.structures import Features


class ComponentTargets(NamedTuple):
    """Whole instances of one image and their components; empty slots are zero and not `valid`.

    Attributes:
        cells: float32 [K, 2], integer heatmap cells (x, y) of the instances' centres.
        boxes: float32 [K, 4] xyxy around all visible components, network-input px.
        heat: float32 [K, 14, 56] over the boxes, exactly 1 at the centres of components.
        sizes: float32 [K, 2, 14, 56] width and height in cells of the grid, at the centres.
        valid: bool [K].
    """

    cells: NDArray[np.float32]
    boxes: NDArray[np.float32]
    heat: NDArray[np.float32]
    sizes: NDArray[np.float32]
    valid: NDArray[np.bool_]


class ComponentBatch(NamedTuple):
    """`ComponentTargets` of B images as tensors, with a leading [B]."""

    cells: Tensor
    boxes: Tensor
    heat: Tensor
    sizes: Tensor
    valid: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> ComponentBatch:
        """Copy on a device."""
        return ComponentBatch(*(t.to(device, non_blocking=non_blocking) for t in self))


def no_components(slots: int) -> ComponentTargets:
    """Empty targets."""
    return ComponentTargets(
        cells=np.zeros((slots, 2), np.float32),
        boxes=np.zeros((slots, 4), np.float32),
        heat=np.zeros((slots, *GRID), np.float32),
        sizes=np.zeros((slots, 2, *GRID), np.float32),
        valid=np.zeros(slots, np.bool_),
    )


def fill_component(
    targets: ComponentTargets,
    slot: int,
    cell: NDArray[np.float64],
    box: NDArray[np.float64],
    parts: Sequence[NDArray[np.float64]],
) -> None:
    """Fills the slot of one instance.

    Args:
        targets: changed in place.
        slot: of the instance.
        cell: [2], heatmap cell of its centre.
        box: [4] xyxy around its components, px.
        parts: boxes of the components, px.
    """
    targets.cells[slot], targets.boxes[slot], targets.valid[slot] = cell, box, True
    rows, columns = GRID
    scale = np.array([columns, rows]) / np.maximum(box[2:] - box[:2], 1.0)
    for part in parts:
        size = (part[2:] - part[:2]) * scale
        place = ((part[:2] + part[2:]) / 2 - box[:2]) * scale
        # The centre of an object in one part lies on the edge of a cell: rounding errors must not
        # push it now to one side and now to the other.
        x, y = np.clip(np.floor(place + 1e-6), 0, [columns - 1, rows - 1]).astype(int).tolist()
        wide, high = np.maximum(np.ceil(size), 1.0).tolist()
        draw_gaussian(targets.heat[slot], (x, y), max(0, int(gaussian_radius(high, wide))))
        targets.sizes[slot, :, y, x] = size


def stack_components(targets: Sequence[ComponentTargets], *, trim: bool) -> ComponentBatch:
    """Stacks the targets of several images; `trim` cuts the slots to the most that one uses."""
    slots = len(targets[0].valid)
    if trim:
        slots = max(1, max(int(t.valid.sum()) for t in targets))
    return ComponentBatch(
        *(
            torch.from_numpy(np.stack([a[:slots] for a in arrays]))
            for arrays in zip(*targets, strict=True)
        )
    )


def component_losses(
    head: ComponentHead,
    features: Features,
    targets: ComponentBatch,
    *,
    counts: Counts | None = None,
) -> dict[str, Tensor]:
    """Focal loss of the component centres and smooth L1 of their sizes, in the true boxes.

    Args:
        head: of the model.
        features: of the batch.
        targets: of the batch.
        counts: of the step that this batch is a part of, see `losses`.

    Returns:
        `component_heat` and `component_size`, unweighted scalars.
    """
    maps = head(features, targets.boxes)
    heat = heatmap_focal_loss(
        maps.heat,
        targets.heat,
        weight=targets.valid[..., None, None],
        counts=counts and counts._replace(centres=counts.components),
    )
    at_centre = targets.heat == 1
    error = F.smooth_l1_loss(maps.size.float(), targets.sizes, reduction="none").mean(2)
    centres = at_centre.sum() if counts is None else counts.components
    size = torch.where(at_centre, error, 0.0).sum() / centres.clamp(min=1)
    return {"component_heat": heat, "component_size": size}
