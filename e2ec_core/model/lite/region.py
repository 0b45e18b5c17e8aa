"""Shape features of the box around a seed, for the lite preset.

A detector trained for boxes knows little of outlines. A small U-shaped network over the features
sampled inside each (enlarged) box learns them from few labelled instances, because it is
convolutional and works in units of the box. The contour stages read its map at their vertices;
an auxiliary mask loss trains it (the mask itself is never an output).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.precision import in_float32
from e2ec_core.model.sampling import gather_cells, place_in_boxes, sample_vertices, unit_grid
from e2ec_core.model.structures import STRIDE, Features, Region, Seeds

FINE_SHIFT = 0.75
"""Input px x lies at x / 2 - 0.75 of the stride-2 map (measured on the trained detector)."""


class MapSpec(NamedTuple):
    """A map that regions are sampled from: input px x lies at x / stride - shift."""

    stride: int
    shift: float
    reduced: int


FEATURE = MapSpec(stride=4, shift=0.5, reduced=48)
PYRAMID = (MapSpec(4, 0.7, 24), MapSpec(8, 0.45, 24), MapSpec(16, 0.65, 24))
"""Shifts measured as the centre of the change that a changed patch of the image makes."""


def _conv(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.GELU(),
    )


def enlarge(boxes: Tensor, factor: float, least: float = 8.0) -> Tensor:
    """Boxes scaled about their centres.

    Args:
        boxes: [..., 4] xyxy, px.
        factor: new size over old size.
        least: smallest side before scaling, px, so that a degenerate box still has a frame.
    """
    low, high = boxes.split(2, dim=-1)
    centre, half = (low + high) / 2, (high - low).clamp(min=least) * (factor / 2)
    return torch.cat([centre - half, centre + half], dim=-1)


class FeatureNorm(nn.Module):
    """Maps of a trained detector, normalised by their mean and deviation over the training data.

    They differ in scale by a factor of 25 (fine over feature), which no optimiser makes up for.

    Args:
        feature_channels: channels of the stride-4 map.
        fine_channels: channels of the stride-2 map.
        pyramid_channels: channels of the backbone's maps.
    """

    def __init__(
        self, feature_channels: int, fine_channels: int, pyramid_channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.feature = _norm(feature_channels)
        self.fine = _norm(fine_channels)
        self.pyramid = nn.ModuleList(_norm(channels) for channels in pyramid_channels)

    def forward(self, features: Features) -> Features:
        """The features with all maps normalised; heatmap and boxes stay."""
        pairs = zip(self.pyramid, features.pyramid, strict=True)
        return features._replace(
            feature=self.feature(features.feature),
            fine=self.fine(features.fine),
            pyramid=tuple(norm(pyramid) for norm, pyramid in pairs),
        )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False, momentum=0.02)


class RegionEncoder(nn.Module):
    """U-shaped network over R x R features sampled inside the enlarged box of every seed.

    The features at the object's centre steer it: they scale and shift the channels, and each cell
    is told how similar it is to the centre, which is what makes it belong to the object.

    Args:
        feature_channels: channels of the stride-4 map.
        fine_channels: channels of the stride-2 map.
        pyramid_channels: channels of the backbone's maps.
        channels: channels C of the shape map.
        code: length D of the shape code.
        cells: R, cells of the shape map per side, a multiple of 4.
        margin: size of the region over the size of the box.
        dropout: share of the code's inputs dropped in training.
    """

    WIDTH = 48
    HEADS = 8
    HEAD_WIDTH = 12

    def __init__(
        self,
        feature_channels: int,
        fine_channels: int,
        pyramid_channels: Sequence[int],
        *,
        channels: int = 32,
        code: int = 256,
        cells: int = 28,
        margin: float = 1.25,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.cells, self.margin = cells, margin
        inputs = (feature_channels, *pyramid_channels)
        specs = (FEATURE, *PYRAMID)
        self.reduce = nn.ModuleList(
            nn.Conv2d(count, spec.reduced, 1) for count, spec in zip(inputs, specs, strict=True)
        )
        sampled = sum(spec.reduced for spec in specs) + fine_channels
        self.steer = nn.Linear(feature_channels, 2 * self.WIDTH)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.query = nn.Linear(feature_channels, self.HEADS * self.HEAD_WIDTH)
        self.key = nn.Conv2d(sampled, self.HEADS * self.HEAD_WIDTH, 1)
        self.enter = nn.Conv2d(sampled + 2, self.WIDTH, 1)
        self.mix = _conv(self.WIDTH + self.HEADS, channels)
        self.down1 = nn.Sequential(_conv(channels, 64, stride=2), _conv(64, 64))
        self.down2 = nn.Sequential(_conv(64, 96, stride=2), _conv(96, 96), _conv(96, 96))
        self.up1 = _conv(96 + 64, 64)
        self.up2 = _conv(64 + channels, channels)
        self.leave = _conv(channels, channels)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.summary = nn.Conv2d(channels, 6, 1)
        self.code = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(7 * (cells // 2) ** 2, code),
            nn.LayerNorm(code),
            nn.GELU(),
        )

    def forward(self, features: Features, seeds: Seeds) -> Region:
        """Encodes the region of every seed.

        Args:
            features: of the batch, with `fine` and `pyramid`.
            seeds: with boxes [B, K, 4].
        """
        assert seeds.boxes is not None
        frame = enlarge(seeds.boxes, self.margin)
        batch, slots = frame.shape[:2]
        x = self._enter(features, seeds, frame)
        half = self.down1(x)
        quarter = self.down2(half)
        up = self.up1(torch.cat([_double(quarter), half], 1))
        shape = self.leave(self.up2(torch.cat([_double(up), x], 1)))
        mask = self.mask(shape)
        # The code sees the object's rough shape itself, from which a contour is easily regressed.
        code = self.code(torch.cat([self.summary(shape), mask.sigmoid()], 1))
        return Region(
            feature=shape,
            code=code.view(batch, slots, -1),
            mask=mask.view(batch, slots, self.cells, self.cells),
            frame=frame,
        )

    def _enter(self, features: Features, seeds: Seeds, frame: Tensor) -> Tensor:
        """Sampled and steered features, [B * K, channels, R, R]."""
        grid = place_in_boxes(unit_grid(self.cells, self.cells, frame), frame)
        sampled = self._sample(features, grid).flatten(0, 1)
        place = (grid - seeds.cells[:, :, None] * STRIDE) / (frame[..., 2:] - frame[..., :2])[
            :, :, None
        ]
        place = place.transpose(2, 3).flatten(0, 1)
        square = (self.cells, self.cells)
        sampled, place = sampled.unflatten(2, square), place.unflatten(2, square)
        centre = gather_cells(features.feature, seeds.cells).flatten(0, 1)
        scale, shift = self.steer(centre)[..., None, None].chunk(2, dim=1)
        entered = in_float32(self.enter, torch.cat([sampled.to(place.dtype), place], 1))
        x = F.gelu(entered.to(scale.dtype) * (1 + scale) + shift)
        query = self.query(centre).unflatten(1, (self.HEADS, self.HEAD_WIDTH))[..., None, None]
        key = self.key(sampled).unflatten(1, (self.HEADS, self.HEAD_WIDTH))
        similar = (query * key).sum(2) / self.HEAD_WIDTH**0.5
        return self.mix(torch.cat([x, similar], 1))

    def _sample(self, features: Features, grid: Tensor) -> Tensor:
        """All maps at the grid's points, [B, K, channels, R * R]."""
        assert features.fine is not None
        maps = (features.feature, *features.pyramid)
        sampled = [
            sample_vertices(reduce(feature), grid, stride=spec.stride, shift=spec.shift)
            for reduce, feature, spec in zip(self.reduce, maps, (FEATURE, *PYRAMID), strict=True)
        ]
        fine = sample_vertices(features.fine, grid, stride=2, shift=FINE_SHIFT)
        return torch.cat([*sampled, fine.to(sampled[0].dtype)], dim=2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def sample_region(region: Region, points: Tensor) -> Tensor:
    """Reads the shape map at points by bilinear interpolation; outside it continues its border.

    Args:
        region: of the seeds.
        points: [B, K, P, 2] (x, y), input px.

    Returns:
        [B, K, C, P].
    """
    batch, slots, count, _ = points.shape
    low, high = region.frame[:, :, None, :2], region.frame[:, :, None, 2:]
    grid = (2 * (points - low) / (high - low) - 1).view(batch * slots, count, 1, 2)
    # On a CPU grid_sample's gradient crashes at border cells of nan; other losses report the nan.
    grid = torch.where(grid.isnan(), 0.0, grid)
    sampled = F.grid_sample(
        region.feature.to(grid.dtype), grid, padding_mode="border", align_corners=False
    )
    return sampled.view(batch, slots, -1, count).to(region.feature.dtype)
