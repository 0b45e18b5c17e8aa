"""The tensors that travel between the parts of the model, and their coordinate frames.

Two frames occur: *input px*, pixels of the network's input, and *cells* of the heatmap, whose
stride is 4. Points are (x, y). K is the number of instance slots, N the vertices of a contour.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from e2ec_core.model.sampling import gather_cells

STRIDE = 4
"""Input pixels per heatmap cell."""
BOX_SCALE = 16.0
"""Input px per unit of a box head."""


class Candidates(NamedTuple):
    """Boxes at P points of several strides, most of them of nothing (lite preset).

    Attributes:
        logits: [B, C, P] of each class.
        bins: [B, 4, bins, P] logits of the distances 0, 1, ... from the point to the left, top,
            right and bottom of its box, in strides.
        points: [P, 3] float32 (x, y, stride), input px.
    """

    logits: Tensor
    bins: Tensor
    points: Tensor


class Features(NamedTuple):
    """What a detector (normalisation, backbone, neck and heads) gives for a batch of images.

    Attributes:
        feature: [B, F, h, w] the map on which contours grow; of stride 4 (lite: 8).
        heatmap: [B, C, H/4, W/4] logits of instance centres, one channel per class; None if the
            detector gives candidates.
        candidates: boxes to choose from, if the detector gives them.
        fine: a finer map for contours, if there is one: the detector's [B, F2, H/2, W/2], from the
            adapter on [B, F2, H/4, W/4].
        pyramid: maps of the backbone, finest first, if contours read them.
        box_sides: [B, 4, H/4, W/4] distances in input px from a centre to the left, top, right
            and bottom of its box, if the detector has a heatmap and a box head.
    """

    feature: Tensor
    heatmap: Tensor | None = None
    candidates: Candidates | None = None
    fine: Tensor | None = None
    pyramid: tuple[Tensor, ...] = ()
    box_sides: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """Class logits, of the heatmap or of the candidates."""
        if self.heatmap is not None:
            return self.heatmap
        assert self.candidates is not None
        return self.candidates.logits

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells of stride 4."""
        if self.heatmap is not None:
            return self.heatmap.shape[-2], self.heatmap.shape[-1]
        return self.feature.shape[-2] * 2, self.feature.shape[-1] * 2

    @property
    def has_boxes(self) -> bool:
        """Whether the detector finds boxes and not only centres."""
        return self.box_sides is not None or self.candidates is not None


class Region(NamedTuple):
    """Shape features of the enlarged box of every seed (lite preset).

    Attributes:
        feature: [B * K, C, R, R] shape map over the frame.
        code: [B, K, D] one vector for the whole region.
        mask: [B, K, R, R] logits of the visible object, for the auxiliary loss alone.
        frame: [B, K, 4] (x1, y1, x2, y2) in input px, the outer edges of the map.
    """

    feature: Tensor
    code: Tensor
    mask: Tensor
    frame: Tensor


class WholeContours(NamedTuple):
    """Amodal contours of the seeds.

    Attributes:
        stages: [coarse, evolved 1, ...], each [B, K, N, 2] (x, y) in input px.
        region: in which they were found; its mask is that of the whole object.
    """

    stages: list[Tensor]
    region: Region

    @property
    def contour(self) -> Tensor:
        """The last stage's."""
        return self.stages[-1]


class Seeds(NamedTuple):
    """K slots per image from which contours grow.

    Attributes:
        cells: [B, K, 2] (x, y) integer heatmap cells, stored as floating point.
        boxes: [B, K, 4] (x1, y1, x2, y2) in input px, if the detector has a box head.
        region: shape features inside the boxes, if the model encodes them.
        valid: [B, K] bool, False in slots that only pad a training batch, so that batch norms
            leave them out; not read in evaluation.
    """

    cells: Tensor
    boxes: Tensor | None = None
    region: Region | None = None
    valid: Tensor | None = None


class Proposals(NamedTuple):
    """Where the contours of the detected instances grow; empty slots have score 0.

    Attributes:
        seeds: K slots.
        scores: [B, K] in 0..1, falling.
        class_ids: [B, K] int64.
        boxes: [B, K, 4] the detector's boxes of the whole instances, input px, if it has any.
        instance_ids: [B, K] int64, equal for components of one instance; None where every
            contour is an instance of its own.
    """

    seeds: Seeds
    scores: Tensor
    class_ids: Tensor
    boxes: Tensor | None = None
    instance_ids: Tensor | None = None


class Detections(NamedTuple):
    """Fixed-size result of a forward pass; empty slots have score 0 and stand at the end.

    Attributes:
        contours: [B, K, N, 2] (x, y) in input px, of the stage asked for.
        scores: [B, K] in 0..1, falling.
        class_ids: [B, K] int64.
        instance_ids: as in `Proposals`.
    """

    contours: Tensor
    scores: Tensor
    class_ids: Tensor
    instance_ids: Tensor | None = None


def cells_at(features: Features, centres: Tensor) -> Tensor:
    """The cells nearest to points, inside the image.

    Args:
        features: of the batch.
        centres: [..., 2] (x, y), input px.
    """
    rows, columns = features.grid
    x, y = (centres / STRIDE).round().unbind(-1)
    return torch.stack([x.clamp(0, columns - 1), y.clamp(0, rows - 1)], -1)


def plant_seeds(features: Features, cells: Tensor) -> Seeds:
    """Makes seeds at the given cells, with the detector's boxes where it has a box head.

    Args:
        features: the detector's output.
        cells: [B, K, 2] (x, y) heatmap cells.
    """
    if features.box_sides is None:
        return Seeds(cells=cells)
    centres = cells * STRIDE
    sides = gather_cells(features.box_sides, cells).to(cells.dtype)
    boxes = torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=2)
    return Seeds(cells=cells, boxes=boxes)
