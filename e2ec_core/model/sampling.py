"""Features at the vertices of contours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_PIXEL_SHIFT = 0.5
"""Shift of the published model: input pixel x lies at x / stride - 0.5 of the feature map."""
EXACT_SHIFT = 0.0
"""Shift with which a vertex on a heatmap cell reads exactly this cell: x / stride."""


def sample_vertices(
    feature: Tensor, points: Tensor, *, stride: float, shift: float = HALF_PIXEL_SHIFT
) -> Tensor:
    """Read a feature map at points by bilinear interpolation, with zeros outside the map.

    A point at input pixel x reads the map at index x / stride - shift. The published model has
    shift 0.5 (grid_sample without aligned corners), so that at x = 0 half of what it reads is
    zero padding; its weights expect this.

    Args:
        feature: [B, C, h, w].
        points: [B, K, P, 2] (x, y) in input px.
        stride: input px per cell of this map.
        shift: in cells of this map.

    Returns:
        [B, K, C, P] in the feature's dtype; positions are computed in the points' dtype.
    """
    batch, instances, count, _ = points.shape
    height, width = feature.shape[-2:]
    # grid_sample without aligned corners puts index i of a map of size n at (2i + 1) / n - 1.
    grid_x = (2 * (points[..., 0] / stride - shift) + 1) / width - 1
    grid_y = (2 * (points[..., 1] / stride - shift) + 1) / height - 1
    grid = torch.stack([grid_x, grid_y], dim=-1).view(batch, instances * count, 1, 2)
    sampled = F.grid_sample(
        feature.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    sampled = sampled.view(batch, feature.shape[1], instances, count).transpose(1, 2)
    return sampled.to(feature.dtype)
