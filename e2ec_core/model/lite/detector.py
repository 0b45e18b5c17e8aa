"""NanoDet-Plus, the detector of the `e2ec_lite` preset.

The layout is that of NanoDet-Plus-m (github.com/RangiLyu/nanodet, Apache-2.0), with its batch
norms folded, so that its COCO-trained weights load. Box sides are distributions over bins
(Generalized Focal Loss, Li et al., NeurIPS 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.lite.maps import MapsLayout
from e2ec_core.model.lite.shufflenet import (
    STAGES,
    STEM_CHANNELS,
    ShuffleNetV2,
    activation,
    depthwise,
    pointwise,
)
from e2ec_core.model.precision import in_float32
from e2ec_core.model.sampling import MapLayout
from e2ec_core.model.structures import Candidates, Features

WIDTH = 96
"""Channels of the pyramid network."""
BINS = 8
"""Distances 0..7 that a side's distribution is over, in strides of the level."""
LEVELS = (8, 16, 32, 64)
"""Strides of the maps that boxes are found on, input px."""

LAYOUT = MapsLayout(
    feature=MapLayout(channels=WIDTH, stride=8, shift=1 / 16),
    fine=MapLayout(channels=STEM_CHANNELS, stride=2, shift=1 / 4),
    pyramid=(
        MapLayout(channels=STEM_CHANNELS, stride=4, shift=1 / 8),
        MapLayout(channels=STAGES[0][0], stride=8, shift=1 / 16),
        MapLayout(channels=STAGES[1][0], stride=16, shift=1 / 32),
    ),
)
"""Where input px lie on the maps; the shifts follow from the symmetric padding."""


class GhostConv(nn.Module):
    """Half of the channels by a 1x1 convolution, the other half from these (GhostNet, 2020)."""

    def __init__(self, in_channels: int, out_channels: int, *, activate: bool) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary = nn.Conv2d(in_channels, half, 1)
        self.cheap = depthwise(half, 3)
        self.activation = activation() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        primary = self.activation(self.primary(x))
        return torch.cat([primary, self.activation(self.cheap(primary))], 1)


class GhostBottleneck(nn.Module):
    """Two ghost convolutions beside a separable one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.ghosts = nn.Sequential(
            GhostConv(in_channels, out_channels, activate=True),
            GhostConv(out_channels, out_channels, activate=False),
        )
        self.short = nn.Sequential(
            depthwise(in_channels, 5), nn.Conv2d(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ghosts(x) + self.short(x)


def _separable(channels: int, *, stride: int = 1) -> nn.Sequential:
    down = depthwise(channels, 5, stride=stride)
    return nn.Sequential(down, activation(), *pointwise(channels, channels))


class GhostPAN(nn.Module):
    """Path aggregation network over strides 8, 16 and 32, with a fourth level of stride 64."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(pointwise(channels, WIDTH) for channels, _ in STAGES)
        self.top_down = nn.ModuleList(GhostBottleneck(2 * WIDTH, WIDTH) for _ in range(2))
        self.down = nn.ModuleList(_separable(WIDTH, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(GhostBottleneck(2 * WIDTH, WIDTH) for _ in range(2))
        self.extra_in = _separable(WIDTH, stride=2)
        self.extra_out = _separable(WIDTH, stride=2)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Maps of 96 channels at the strides of `LEVELS`, from those of the backbone's stages."""
        s8, s16, s32 = (reduce(x) for reduce, x in zip(self.reduce, maps, strict=True))
        t16 = self.top_down[0](torch.cat([_double(s32), s16], 1))
        p8 = self.top_down[1](torch.cat([_double(t16), s8], 1))
        p16 = self.bottom_up[0](torch.cat([self.down[0](p8), t16], 1))
        p32 = self.bottom_up[1](torch.cat([self.down[1](p16), s32], 1))
        return [p8, p16, p32, self.extra_in(s32) + self.extra_out(p32)]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class LevelHead(nn.Module):
    """Class logits and box sides at every cell of a level."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_separable(WIDTH), _separable(WIDTH))
        self.classes = nn.Conv2d(WIDTH, classes, 1)
        self.bins = nn.Conv2d(WIDTH, 4 * BINS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, C, h, w], and logits of the bins of the sides [B, 4 * 8, h, w]."""
        hidden = self.convs(x)
        return self.classes(hidden), in_float32(self.bins, hidden)


class NanoDetPlus(nn.Module):
    """NanoDet-Plus-m: boxes at four strides, and the maps that contours grow on.

    Args:
        classes: number of classes C.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = ShuffleNetV2()
        self.neck = GhostPAN()
        self.heads = nn.ModuleList(LevelHead(classes) for _ in LEVELS)
        # Constants of the architecture, RGB: not stored in checkpoints.
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        scale = torch.tensor([0.017125, 0.017507, 0.017429]).view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: Tensor) -> Features:
        """Detects in RGB images.

        Args:
            images: [B, 3, H, W] RGB in 0..255, H and W multiples of 32.

        Returns:
            Features: candidates at all cells of the four levels, feature [B, 96, H/8, W/8],
            fine [B, 24, H/2, W/2], and a pyramid of strides 4, 8 and 16.
        """
        maps = self.backbone((images - self.mean) * self.scale)
        levels = self.neck(maps[2:])
        found = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        bins = [side.unflatten(1, (4, BINS)).flatten(3) for _, side in found]
        points = [_points(level, stride) for level, stride in zip(levels, LEVELS, strict=True)]
        return Features(
            candidates=Candidates(
                logits=torch.cat([classes.flatten(2) for classes, _ in found], 2),
                bins=torch.cat(bins, 3),
                points=torch.cat(points),
            ),
            feature=levels[0],
            fine=maps.s2,
            pyramid=(maps.s4, maps.s8, maps.s16),
        )


def _points(level: Tensor, stride: int) -> Tensor:
    """(x, y, stride) of a level's cells in input px, row by row; float32 [cells, 3]."""
    height, width = level.shape[2:]
    y, x = (
        torch.arange(count, device=level.device, dtype=torch.float32) for count in (height, width)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    return stride * torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)
