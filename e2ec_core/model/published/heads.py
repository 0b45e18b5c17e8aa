"""Convolution heads, evaluated on the whole map or only at the cells that are read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2ec_core.model.precision import in_float32


def gather_patches(feature: Tensor, cells: Tensor) -> Tensor:
    """The 3x3 neighbourhoods of cells, with zeros outside the map.

    Args:
        feature: [B, C, h, w].
        cells: [B, K, 2] (x, y) integer cells inside the map.

    Returns:
        [B, K, C * 9], ordered as the weights of a 3x3 convolution.
    """
    batch, channels, _, width = feature.shape
    padded_width = width + 2
    corner = (cells[..., 1] * padded_width + cells[..., 0]).long()
    steps = torch.arange(3, device=feature.device)
    taps = (steps[:, None] * padded_width + steps).flatten()
    index = (corner[..., None] + taps).view(batch, 1, -1).expand(-1, channels, -1)
    patches = torch.gather(F.pad(feature, (1, 1, 1, 1)).flatten(2), 2, index)
    return patches.view(batch, channels, -1, 9).transpose(1, 2).flatten(2)


class ConvHead(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution.

    Args:
        in_channels: channels of the map.
        out_channels: channels of the output.
        hidden: channels between the convolutions.
        coordinates: whether the output holds coordinates, which keeps it in float32.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, hidden: int = 256, coordinates: bool = False
    ) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.conv = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        hidden = self.conv(feature).relu()
        return in_float32(self.out, hidden) if self.coordinates else self.out(hidden)

    def at_cells(self, feature: Tensor, cells: Tensor) -> Tensor:
        """The head's output at a few cells, without computing the rest.

        Equal to reading the dense output there, at a hundredth of its cost for K = 100.

        Args:
            feature: [B, in, h, w].
            cells: [B, K, 2] (x, y) integer cells inside the map.

        Returns:
            [B, K, out].
        """
        patches = gather_patches(feature, cells)
        hidden = F.linear(patches, self.conv.weight.flatten(1), self.conv.bias).relu()
        last = (hidden, self.out.weight.flatten(1), self.out.bias)
        return in_float32(F.linear, *last) if self.coordinates else F.linear(*last)
