"""The neck of the published model: iterative deep aggregation from stride 32 up to stride 4.

Deep Layer Aggregation (Yu et al., CVPR 2018) with deformable convolutions and learned up-sampling,
as CenterNet (Zhou et al., 2019) uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e2ec_core.model.precision import in_float32
from e2ec_core.model.published.deform_conv import DeformConv


class NeckConv(nn.Module):
    """3x3 deformable convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = DeformConv(in_channels, out_channels)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        out: Tensor = self.norm(self.conv(x))
        return out.relu()


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Builds a learned up-sampling by `factor`, each channel for itself, that starts bilinear."""
    layer = nn.ConvTranspose2d(
        channels,
        channels,
        2 * factor,
        stride=factor,
        padding=factor // 2,
        groups=channels,
        bias=False,
    )
    centre = (2 * factor - 1) / 2
    ramp = 1 - (torch.arange(2 * factor) - centre).abs() / factor
    with torch.no_grad():
        layer.weight.copy_(ramp[:, None] * ramp)
    return layer


class IDAUp(nn.Module):
    """Iterative deep aggregation: each coarser map is projected, up-sampled and merged.

    Args:
        channels: of the maps, finest first; the result has those of the finest.
        factors: up-sampling of each coarser map to the finest's size.
    """

    def __init__(self, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        out = channels[0]

        def convs(inputs: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(NeckConv(c, out) for c in inputs)

        self.projections = convs(channels[1:])
        self.upsamplings = nn.ModuleList(bilinear_upsampling(out, f) for f in factors)
        self.nodes = convs([out] * len(factors))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Merges maps, finest first, into as many maps of the finest's size."""
        merged = [maps[0]]
        steps = zip(self.projections, self.upsamplings, self.nodes, maps[1:], strict=True)
        for project, upsample, node, coarser in steps:
            merged.append(node(_upsampled(upsample, project(coarser)) + merged[-1]))
        return merged


def _upsampled(layer: nn.Module, x: Tensor) -> Tensor:
    """In half precision, PyTorch's kernel for CPUs takes 40 times as long as in float32."""
    return layer(x) if x.device.type != "cpu" else in_float32(layer, x).to(x.dtype)


class DLANeck(nn.Module):
    """Aggregates the maps of strides 4 to 32 into one map of stride 4.

    Args:
        channels: of the backbone's maps of strides 4, 8, 16, 32.
    """

    def __init__(self, channels: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        aggregations = []
        widths = list(channels)
        for level in reversed(range(len(channels) - 1)):
            merged = widths[level:]
            factors = [2] * (len(merged) - 1)
            aggregations.append(IDAUp(merged, factors))
            widths[level:] = [channels[level]] * len(merged)
        self.aggregations = nn.ModuleList(aggregations)
        self.fusion = IDAUp(channels[:3], [2, 4])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Aggregates the maps.

        Args:
            maps: strides 4, 8, 16, 32, finest first.

        Returns:
            [B, channels[0], H / 4, W / 4].
        """
        maps = list(maps)
        last: list[Tensor] = []
        for step, aggregate in enumerate(self.aggregations):
            level = len(maps) - 2 - step
            maps[level:] = aggregate(maps[level:])
            last.insert(0, maps[-1])
        fused: Tensor = self.fusion(last)[-1]
        return fused
