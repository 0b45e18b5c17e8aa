"""Reads maps at points and cells, and lays grids of points over boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_PIXEL_SHIFT = 0.5
"""Shift of the published model: input pixel x lies at x / stride - 0.5 of the feature map."""


class MapLayout(NamedTuple):
    """Channels of a map, and where input px lie on it: x at index x / stride - shift."""

    channels: int
    stride: int
    shift: float

    def sample(self, feature: Tensor, points: Tensor) -> Tensor:
        """Reads the map at points [B, K, P, 2], input px, as [B, K, channels, P]."""
        return sample_vertices(feature, points, stride=self.stride, shift=self.shift)

    def sample_channels_first(self, feature: Tensor, points: Tensor) -> Tensor:
        """As `sample`, as [B, channels, K, P]."""
        return sample_points(feature, points, stride=self.stride, shift=self.shift)


def gather_cells(feature: Tensor, cells: Tensor) -> Tensor:
    """Reads a map at integer cells.

    Args:
        feature: [B, F, h, w].
        cells: [B, K, 2] (x, y) cells inside the map.

    Returns:
        [B, K, F].
    """
    width = feature.shape[-1]
    index = (cells[..., 1] * width + cells[..., 0]).long()
    index = index[:, None, :].expand(-1, feature.shape[1], -1)
    return torch.gather(feature.flatten(2), 2, index).transpose(1, 2)


def unit_grid(rows: int, columns: int, like: Tensor) -> Tensor:
    """Centres of equal cells of the unit square, row by row.

    Args:
        rows: number of cells from top to bottom.
        columns: number of cells from left to right.
        like: gives dtype and device.

    Returns:
        [rows * columns, 2] (x, y) in 0..1.
    """
    y, x = (
        (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
        for count in (rows, columns)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def place_in_boxes(unit: Tensor, boxes: Tensor) -> Tensor:
    """Maps points of the unit square into boxes.

    Args:
        unit: [P, 2] or [B, K, P, 2] (x, y) in 0..1.
        boxes: [B, K, 4] xyxy, px.

    Returns:
        [B, K, P, 2] (x, y), px.
    """
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    return low + unit * (high - low)


def sample_vertices(
    feature: Tensor, points: Tensor, *, stride: float, shift: float = HALF_PIXEL_SHIFT
) -> Tensor:
    """Reads a feature map at points by bilinear interpolation, with zeros outside the map.

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
    return sample_points(feature, points, stride=stride, shift=shift).transpose(1, 2)


def sample_points(
    feature: Tensor, points: Tensor, *, stride: float, shift: float = HALF_PIXEL_SHIFT
) -> Tensor:
    """As `sample_vertices`, with the channels first: [B, C, K, P]."""
    batch, instances, count, _ = points.shape
    height, width = feature.shape[-2:]
    # grid_sample without aligned corners puts index i of a map of size n at (2i + 1) / n - 1.
    grid_x = (2 * (points[..., 0] / stride - shift) + 1) / width - 1
    grid_y = (2 * (points[..., 1] / stride - shift) + 1) / height - 1
    grid = torch.stack([grid_x, grid_y], dim=-1).view(batch, instances * count, 1, 2)
    sampled = F.grid_sample(
        feature.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled.view(batch, feature.shape[1], instances, count).to(feature.dtype)
