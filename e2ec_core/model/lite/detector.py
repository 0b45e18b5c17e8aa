"""CenterNet with a light neck on MobileNetV3, the detector of the `e2ec_lite` preset."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.lite.mobilenet import MobileNetV3, SameConv2d
from e2ec_core.model.precision import in_float32
from e2ec_core.model.structures import BOX_SCALE, Features

FEATURE_CHANNELS = 128


def _separable(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        SameConv2d(in_channels, in_channels, kernel, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1),
    )


def _upsample_twice(x: Tensor) -> Tensor:
    """Bilinear x2 on the corner grid (TensorFlow 1: no aligned corners, no half pixels)."""
    height, width = x.shape[2:]
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    doubled = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    return doubled[:, :, :-1, :-1]


class Lateral(nn.Sequential):
    """Skip branch: 1x1, ReLU, 5x5 separable convolution."""

    def __init__(self, in_channels: int, squeezed: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, squeezed, 1),
            nn.ReLU(),
            *_separable(squeezed, out_channels, 5),
        )


class Upsample(nn.Module):
    """Two separable branches (3x3 and 5x5) added, then doubled in size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch3 = _separable(in_channels, out_channels, 3)
        self.branch5 = _separable(in_channels, out_channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return _upsample_twice(self.branch3(x) + self.branch5(x))


class LiteDetector(nn.Module):
    """CenterNet on MobileNetV3: heatmap of centres, box sides, features at stride 4 and 2.

    Args:
        classes: number of classes C of the heatmap.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = MobileNetV3()
        self.lateral4 = Lateral(72, 18, 64)
        self.lateral8 = Lateral(96, 24, 96)
        self.lateral16 = Lateral(88, 22, 128)
        self.up32 = Upsample(480, 128)
        self.up16 = Upsample(256, 96)
        self.up8 = Upsample(192, 64)
        self.gate_reduce = nn.Conv2d(FEATURE_CHANNELS, 32, 1)
        self.gate_expand = nn.Conv2d(32, FEATURE_CHANNELS, 1, bias=False)
        self.heatmap = _separable(FEATURE_CHANNELS, classes, 3)
        self.box_sides = _separable(FEATURE_CHANNELS, 4, 3)

    def forward(self, images: Tensor) -> Features:
        """Detects in RGB images.

        Args:
            images: [B, 3, H, W] RGB in 0..255, H and W multiples of 32.

        Returns:
            Features: heatmap logits [B, C, H/4, W/4], feature [B, 128, H/4, W/4],
            fine [B, 16, H/2, W/2], pyramid of strides 4, 8 and 16, box sides [B, 4, H/4, W/4]
            (left, top, right, bottom of the cell's corner 4 * cell, input px).
        """
        maps = self.backbone(images)
        x = F.relu(torch.cat([self.lateral16(maps.s16), self.up32(maps.s32)], 1))
        x = F.relu(torch.cat([self.lateral8(maps.s8), self.up16(x)], 1))
        x = F.relu(torch.cat([self.lateral4(maps.s4), self.up8(x)], 1))
        gate = self.gate_expand(F.relu(self.gate_reduce(x.mean((2, 3), keepdim=True))))
        feature = x * torch.sigmoid(gate)
        return Features(
            heatmap=self.heatmap(feature),
            feature=feature,
            fine=maps.s2,
            pyramid=(maps.s4, maps.s8, maps.s16),
            box_sides=BOX_SCALE * in_float32(self.box_sides, feature),
        )
