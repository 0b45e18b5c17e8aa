"""Shape features of the box around a seed, for the lite preset.

A detector trained for boxes knows little of outlines. A small U-shaped network over the features
sampled inside each (enlarged) box learns them from few labelled instances, because it is
convolutional and works in units of the box. The contour stages read its map at their vertices;
an auxiliary mask loss trains it (the mask itself is never an output).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.lite.maps import MapsLayout
from e2ec_core.model.precision import in_float32
from e2ec_core.model.sampling import MapLayout, place_in_boxes, unit_grid
from e2ec_core.model.structures import STRIDE, Features, Region, Seeds


def read_centre(layout: MapsLayout, features: Features, seeds: Seeds) -> Tensor:
    """The feature map at the seeds' cells, [B, K, channels]."""
    points = seeds.cells[:, :, None] * STRIDE
    return layout.feature.sample(features.feature, points).squeeze(3)


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


class RegionEncoder(nn.Module):
    """U-shaped network over R x R features sampled inside the enlarged box of every seed.

    The features at the object's centre steer it: they scale and shift the channels, and each cell
    is told how similar it is to the centre, which is what makes it belong to the object.

    Args:
        layout: of the maps that it reads.
        channels: channels C of the shape map.
        code: length D of the shape code.
        cells: R, cells of the shape map per side, a multiple of 4.
        margin: size of the region over the size of the box.
        dropout: share of the code's inputs dropped in training.
    """

    WIDTH = 48
    HEADS = 8
    HEAD_WIDTH = 12
    REDUCED = 48
    PYRAMID_REDUCED = 24

    def __init__(
        self,
        layout: MapsLayout,
        *,
        channels: int = 32,
        code: int = 256,
        cells: int = 24,
        margin: float = 1.25,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cells, self.margin = cells, margin
        self.layout = layout
        feature_channels = layout.feature.channels
        reduced = (self.REDUCED, *(self.PYRAMID_REDUCED for _ in layout.pyramid))
        self.reduce = nn.ModuleList(
            nn.Conv2d(level.channels, width, 1)
            for level, width in zip(self._levels(), reduced, strict=True)
        )
        sampled = sum(reduced) + layout.fine.channels
        self.steer = nn.Linear(feature_channels, 2 * self.WIDTH)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.query = nn.Linear(feature_channels, self.HEADS * self.HEAD_WIDTH)
        self.key = nn.Linear(sampled, self.HEADS * self.HEAD_WIDTH)
        self.enter = nn.Conv1d(sampled + 2, self.WIDTH, 1)
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
        """Sampled and steered features, [B * K, channels, R, R].

        Channels come first and slots second up to the 3x3 convolution, so that the layers before
        are one matrix product each.
        """
        grid = place_in_boxes(unit_grid(self.cells, self.cells, frame), frame)
        sampled = self._sample(features, grid)
        size = (frame[..., 2:] - frame[..., :2])[:, :, None]
        place = ((grid - seeds.cells[:, :, None] * STRIDE) / size).permute(0, 3, 1, 2)
        centre = read_centre(self.layout, features, seeds)
        scale, shift = self.steer(centre).transpose(1, 2)[..., None].chunk(2, dim=1)
        read = torch.cat([sampled.to(place.dtype), place], 1).flatten(2)
        entered = in_float32(self.enter, read).unflatten(2, place.shape[2:])
        x = F.gelu(entered.to(scale.dtype) * (1 + scale) + shift)
        x = torch.cat([x.transpose(1, 2), self._similarity(centre, sampled)], 2)
        return self.mix(x.flatten(0, 1).unflatten(2, (self.cells, self.cells)))

    def _similarity(self, centre: Tensor, sampled: Tensor) -> Tensor:
        """Dot products of the centre's queries with the cells' keys, [B, K, heads, R * R].

        The query is multiplied with the weights of the keys first: there are few queries.
        """
        query = self.query(centre).unflatten(2, (self.HEADS, self.HEAD_WIDTH))
        weight = self.key.weight.view(self.HEADS, self.HEAD_WIDTH, -1)
        bias = self.key.bias.view(self.HEADS, self.HEAD_WIDTH)
        weights = torch.einsum("bkhd,hdc->bkhc", query, weight.to(query.dtype))
        offset = (query * bias.to(query.dtype)).sum(3, keepdim=True)
        similar = weights @ sampled.transpose(1, 2).to(weights.dtype) + offset
        return similar / self.HEAD_WIDTH**0.5

    def _sample(self, features: Features, grid: Tensor) -> Tensor:
        """All maps at the grid's points, [B, channels, K, R * R]."""
        assert features.fine is not None
        maps = (features.feature, *features.pyramid)
        sampled = [
            level.sample_channels_first(reduce(feature).contiguous(), grid)
            for reduce, feature, level in zip(self.reduce, maps, self._levels(), strict=True)
        ]
        fine = self.layout.fine.sample_channels_first(features.fine, grid)
        return torch.cat([*sampled, fine.to(sampled[0].dtype)], dim=1)

    def _levels(self) -> tuple[MapLayout, ...]:
        return (self.layout.feature, *self.layout.pyramid)


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
    # Equal to border padding, which takes ONNX Runtime ten times longer.
    inside = 1 - 1 / region.feature.shape[-1]
    sampled = F.grid_sample(
        region.feature.to(grid.dtype), grid.clamp(-inside, inside), align_corners=False
    )
    return sampled.view(batch, slots, -1, count).to(region.feature.dtype)
