"""The octagon as initial contour, the baseline that E2EC's learned one replaces.

Deep Snake (Peng et al., CVPR 2020, section 3.3) moves the diamond in the detector's box to the
object's four extreme points, by circular convolutions, and starts from the octagon through them
(ExtremeNet, Zhou et al., CVPR 2019, section 4.4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e2ec_core.model.structures import Features, Seeds

DIAMOND_VERTICES = 40
"""Vertices of the contour that finds the extreme points, as in Deep Snake."""


class OctagonInitial(nn.Module):
    """Initial contour of a detector with boxes: diamond, extreme points, octagon."""

    def __init__(self, evolution: nn.Module, vertices: int) -> None:
        """Wrap the step from the diamond to the extreme points.

        Args:
            evolution: a contour evolution, ``(features, seeds, contour) -> contour``.
            vertices: N.
        """
        super().__init__()
        self.evolution = evolution
        self.vertices = vertices

    def forward(self, features: Features, seeds: Seeds) -> Tensor:
        """Octagons [B, K, N, 2] (x, y), input px, first vertex at the bottom."""
        assert seeds.boxes is not None, "the octagon needs a detector with boxes"
        start = diamond(seeds.boxes, DIAMOND_VERTICES)
        extremes = self.evolution(features, seeds, start)[:, :, :: DIAMOND_VERTICES // 4]
        return octagon(extremes, self.vertices)

    def target(self, contour: Tensor) -> Tensor:
        """The octagon of a true contour, [B, K, N, 2] in the same units: what is learnt."""
        return octagon(extreme_points(contour), self.vertices)


def diamond(boxes: Tensor, vertices: int) -> Tensor:
    """Contour through the middles of a box's sides, evenly spaced on each of its four edges.

    Args:
        boxes: [..., 4] xyxy.
        vertices: a multiple of 4.

    Returns:
        [..., vertices, 2], from the bottom counter-clockwise on the screen.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    centre, (x, y) = (low + high) / 2, ((high - low) / 2).unbind(-1)
    zero = torch.zeros_like(x)
    arms = torch.stack([zero, y, x, zero, zero, -y, -x, zero], dim=-1).unflatten(-1, (4, 2))
    corners = centre[..., None, :] + arms
    share = torch.arange(vertices // 4, device=boxes.device, dtype=boxes.dtype) / (vertices // 4)
    edges = corners.roll(-1, dims=-2) - corners
    return (corners[..., None, :] + share[:, None] * edges[..., None, :]).flatten(-3, -2)


def extreme_points(contour: Tensor) -> Tensor:
    """Lowest, rightmost, highest and leftmost vertex on the screen, [..., N, 2] to [..., 4, 2]."""
    x, y = contour.detach().unbind(-1)
    index = torch.stack([y.argmax(-1), x.argmax(-1), y.argmin(-1), x.argmin(-1)], dim=-1)
    return contour.gather(-2, index[..., None].expand(*index.shape, 2))


def octagon(extremes: Tensor, vertices: int) -> Tensor:
    """The octagon through extreme points, with evenly spaced vertices.

    Each point is widened to a segment of a quarter of its box's side, cut at the box's corners.

    Args:
        extremes: [..., 4, 2]: bottom, right, top and left point.
        vertices: N.

    Returns:
        [..., N, 2], from the bottom point counter-clockwise on the screen.
    """
    low, high = extremes.amin(dim=-2), extremes.amax(dim=-2)
    reach_x, reach_y = ((high - low) / 8).unbind(-1)
    bottom, right, top, left = extremes.unbind(-2)

    def moved(point: Tensor, x: float, y: float) -> Tensor:
        shifted = point + torch.stack([x * reach_x, y * reach_y], dim=-1)
        return torch.minimum(torch.maximum(shifted, low), high)

    corners = [bottom, moved(bottom, 1, 0), moved(right, 0, 1), moved(right, 0, -1)]
    corners += [moved(top, 1, 0), moved(top, -1, 0), moved(left, 0, -1), moved(left, 0, 1)]
    corners += [moved(bottom, -1, 0)]
    return space_evenly(torch.stack(corners, dim=-2), vertices)


def space_evenly(polygon: Tensor, vertices: int) -> Tensor:
    """Points at even distances along closed polygons, [..., P, 2] to [..., N, 2], differentiable.

    The first point stays where it is.
    """
    edges = polygon.roll(-1, dims=-2) - polygon
    # The root's gradient at 0 is infinite; the smallest float keeps it finite there.
    tiny = torch.finfo(polygon.dtype).tiny
    lengths = edges.square().sum(-1).clamp(min=tiny).sqrt()
    ends = lengths.cumsum(-1)
    share = torch.arange(vertices, device=polygon.device, dtype=polygon.dtype) / vertices
    position = share * ends[..., -1:]
    index = (position[..., None] >= ends[..., None, :]).sum(-1).clamp(max=polygon.shape[-2] - 1)
    along = (position - (ends - lengths).gather(-1, index)) / lengths.gather(-1, index)
    index = index[..., None].expand(*index.shape, 2)
    return polygon.gather(-2, index) + along[..., None] * edges.gather(-2, index)
