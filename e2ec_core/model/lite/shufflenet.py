"""ShuffleNetV2 (Ma et al., ECCV 2018), the backbone of NanoDet-Plus, batch norms folded."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

STEM_CHANNELS = 24
STAGES = ((116, 4), (232, 8), (464, 4))
"""Channels and blocks of the stages of strides 8, 16 and 32."""


class BackboneMaps(NamedTuple):
    """Maps of the backbone; the number is the stride in input px."""

    s2: Tensor  # [B, 24, H/2, W/2]
    s4: Tensor  # [B, 24, H/4, W/4]
    s8: Tensor  # [B, 116, H/8, W/8]
    s16: Tensor  # [B, 232, H/16, W/16]
    s32: Tensor  # [B, 464, H/32, W/32]


def activation() -> nn.LeakyReLU:
    """The activation of all of NanoDet-Plus."""
    return nn.LeakyReLU(0.1, inplace=True)


def depthwise(channels: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    """Depthwise convolution with symmetric padding."""
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)


def pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and activation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), activation())


def shuffle(x: Tensor) -> Tensor:
    """Interleaves the first and the second half of the channels."""
    return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleBlock(nn.Module):
    """Half of the channels passes by, the other half is convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(
            pointwise(half, half), depthwise(half, 3), *pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        passed, convolved = x.chunk(2, dim=1)
        return shuffle(torch.cat([passed, self.convs(convolved)], 1))


class DownBlock(nn.Module):
    """Halves the size; both branches are convolved."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.short = nn.Sequential(
            depthwise(in_channels, 3, stride=2), *pointwise(in_channels, half)
        )
        self.convs = nn.Sequential(
            pointwise(in_channels, half), depthwise(half, 3, stride=2), *pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(torch.cat([self.short(x), self.convs(x)], 1))


class ShuffleNetV2(nn.Module):
    """Backbone of width 1.0 without its last convolution and classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM_CHANNELS, 3, 2, 1), activation())
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, before = [], STEM_CHANNELS
        for channels, blocks in STAGES:
            more = (ShuffleBlock(channels) for _ in range(blocks - 1))
            stages.append(nn.Sequential(DownBlock(before, channels), *more))
            before = channels
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> BackboneMaps:
        """Args: images: [B, 3, H, W], H and W multiples of 32."""
        s2 = self.stem(images)
        maps = [s2, self.pool(s2)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return BackboneMaps(*maps)
