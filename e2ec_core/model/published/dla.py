"""DLA-34, the backbone of the published model (Deep Layer Aggregation, Yu et al., CVPR 2018).

Module names follow the reference lineage (ucbdrive/dla, BSD-3-Clause; timm), so that its ImageNet
weights load key by key. Projections that the reference computes but never reads (those of trees of
two levels) are left out, as timm does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64, 128, 256, 512)
"""Channels of the six output maps, strides 1, 2, 4, 8, 16, 32."""


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A size-keeping convolution without bias and its batch norm."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    return conv, nn.BatchNorm2d(out_channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual connection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(in_channels, out_channels, 3, stride=stride)
        self.conv2, self.bn2 = conv_norm(out_channels, out_channels, 3)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Add `residual`, or `x` itself, to the second convolution."""
        out: Tensor = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)) + (x if residual is None else residual)
        return out.relu()


class Root(nn.Module):
    """Aggregation node: concatenation, 1x1 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv, self.bn = conv_norm(in_channels, out_channels, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        """[B, C_i, h, w] each -> [B, out, h, w]."""
        out: Tensor = self.bn(self.conv(torch.cat(maps, dim=1)))
        return out.relu()


class Tree(nn.Module):
    """A tree of blocks whose outputs are aggregated in one root."""

    def __init__(
        self,
        levels: int,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        level_root: bool = False,
        children_channels: int = 0,
    ) -> None:
        """Build the tree.

        Args:
            levels: depth; 1 is two blocks and a root, more are two trees of one level less.
            in_channels: of the input.
            out_channels: of every block.
            stride: of the first block.
            level_root: whether the (pooled) input is aggregated too.
            children_channels: channels of the maps handed down from outer trees.
        """
        super().__init__()
        if level_root:
            children_channels += in_channels
        self.level_root = level_root
        self.levels = levels
        self.pool = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        self.tree1: nn.Module
        self.tree2: nn.Module
        if levels == 1:
            self.tree1 = BasicBlock(in_channels, out_channels, stride)
            self.tree2 = BasicBlock(out_channels, out_channels)
            self.root = Root(2 * out_channels + children_channels, out_channels)
            same = in_channels == out_channels
            self.project = (
                None if same else nn.Sequential(*conv_norm(in_channels, out_channels, 1))
            )
        else:
            self.tree1 = Tree(levels - 1, in_channels, out_channels, stride=stride)
            self.tree2 = Tree(
                levels - 1,
                out_channels,
                out_channels,
                children_channels=children_channels + out_channels,
            )

    def forward(self, x: Tensor, children: tuple[Tensor, ...] = ()) -> Tensor:
        """[B, in, h, w] -> [B, out, h / stride, w / stride].

        Args:
            x: the input; the first block strides, so it is not pooled.
            children: maps of the output's size from outer trees.
        """
        bottom: Tensor = self.pool(x)
        if self.level_root:
            children = (bottom, *children)
        out: Tensor
        if self.levels == 1:
            x1 = self.tree1(x, bottom if self.project is None else self.project(bottom))
            out = self.root(self.tree2(x1), x1, *children)
        else:
            x1 = self.tree1(x)
            out = self.tree2(x1, (*children, x1))
        return out


class DLA34(nn.Module):
    """DLA with 34 layers; six maps of strides 1 to 32."""

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        self.base_layer = nn.Sequential(*conv_norm(3, c[0], 7), nn.ReLU())
        self.level0 = nn.Sequential(*conv_norm(c[0], c[0], 3), nn.ReLU())
        self.level1 = nn.Sequential(*conv_norm(c[0], c[1], 3, stride=2), nn.ReLU())
        self.level2 = Tree(1, c[1], c[2], stride=2)
        self.level3 = Tree(2, c[2], c[3], stride=2, level_root=True)
        self.level4 = Tree(2, c[3], c[4], stride=2, level_root=True)
        self.level5 = Tree(1, c[4], c[5], stride=2, level_root=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the pyramid.

        Args:
            x: [B, 3, H, W] normalised image; H and W multiples of 32.

        Returns:
            Six maps [B, CHANNELS[i], H / 2**i, W / 2**i].
        """
        x = self.base_layer(x)
        levels = (self.level0, self.level1, self.level2, self.level3, self.level4, self.level5)
        maps = []
        for level in levels:
            x = level(x)
            maps.append(x)
        return maps
