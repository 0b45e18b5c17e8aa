"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019) as one PyTorch operator.

``torch.ops.e2ec.deform_conv2d`` runs wherever `grid_sample` does, needs no compiled extension, and
is opaque to tracing, so that exporters can map it to ONNX's DeformConv. Its semantics are those of
the DCNv2 kernel and of ``torchvision.ops.deform_conv2d``: tap k = kernel * row + column; offsets
(dy, dx) interleaved over the taps; bilinear interpolation with zeros outside the map. The stride
is 1, the kernel square and odd, the padding keeps the size.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _sampling_grid(offset: Tensor, kernel: int) -> Tensor:
    """Sampling positions with the taps folded into the height, so that one grid_sample serves.

    grid_sample(align_corners=False) with index i at (2i + 1) / n - 1 and zero padding has exactly
    the corner rule of deformable convolution.

    Args:
        offset: [B, 2 * taps, H, W] (dy, dx) pairs, cells.
        kernel: odd kernel size.

    Returns:
        [B, taps * H, W, 2] normalised (x, y), at least float32.
    """
    batch, _, height, width = offset.shape
    taps = kernel * kernel
    # Half precision would quantise positions to half a cell above index 512.
    dtype = torch.promote_types(offset.dtype, torch.float32)
    pairs = offset.to(dtype).view(batch, taps, 2, height, width)
    rows = torch.arange(height, device=offset.device, dtype=dtype).view(1, height, 1)
    columns = torch.arange(width, device=offset.device, dtype=dtype).view(1, 1, width)
    tap = torch.arange(taps, device=offset.device).view(taps, 1, 1)
    y = pairs[:, :, 0] + rows + (tap // kernel - kernel // 2)
    x = pairs[:, :, 1] + columns + (tap % kernel - kernel // 2)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return grid.view(batch, taps * height, width, 2)


def _sample(image: Tensor, grid: Tensor) -> Tensor:
    """Samples of all taps, [B, C, taps * H, W], in the grid's dtype."""
    return F.grid_sample(image.to(grid.dtype), grid, align_corners=False)


def _check(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> int:
    """Kernel size; raises ValueError where the shapes do not belong together."""
    kernel = weight.shape[-1]
    taps = kernel * kernel
    batch, channels, height, width = image.shape
    expected = {
        "weight": (weight.shape[0], channels, kernel, kernel),
        "offset": (batch, 2 * taps, height, width),
        "mask": (batch, taps, height, width),
    }
    for name, tensor in (("weight", weight), ("offset", offset), ("mask", mask)):
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; an image of shape {tuple(image.shape)} "
                f"and a {kernel}x{kernel} kernel need {expected[name]}"
            )
    if kernel % 2 == 0:
        raise ValueError(f"kernel size is {kernel}; it must be odd")
    return kernel


# Schemas are spelled out: early versions of custom_op cannot read postponed annotations.
@torch.library.custom_op(
    "e2ec::deform_conv2d",
    mutates_args=(),
    schema="(Tensor image, Tensor offset, Tensor mask, Tensor weight, Tensor bias) -> Tensor",
)
def deform_conv2d(
    image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Modulated deformable convolution, stride 1, size-keeping padding.

    Args:
        image: [B, C, H, W].
        offset: [B, 2 * taps, H, W], (dy, dx) in cells for each tap in turn.
        mask: [B, taps, H, W], the factor of each tap (already through the sigmoid).
        weight: [O, C, kernel, kernel], kernel odd; taps = kernel * kernel.
        bias: [O].

    Returns:
        [B, O, H, W].

    Raises:
        ValueError: if shapes do not belong together.
    """
    kernel = _check(image, offset, mask, weight)
    # torchvision's kernel computes positions in the image's dtype: too coarse in half precision.
    fast = _torchvision_kernel() if image.is_cuda and image.dtype.itemsize >= 4 else None
    if fast is not None:
        return fast(image, offset, weight, bias, padding=kernel // 2, mask=mask)
    batch, channels, height, width = image.shape
    taps = kernel * kernel
    samples = _sample(image, _sampling_grid(offset, kernel))
    columns = samples.view(batch, channels, taps, height * width)
    columns = (columns * mask.view(batch, 1, taps, height * width)).to(image.dtype)
    columns = columns.view(batch, channels * taps, height * width)
    out = torch.matmul(weight.flatten(1), columns) + bias[:, None]
    return out.view(batch, -1, height, width)


@deform_conv2d.register_fake
def _(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return image.new_empty(image.shape[0], weight.shape[0], *image.shape[2:])


@torch.library.custom_op(
    "e2ec::deform_conv2d_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor image, Tensor offset, Tensor mask, Tensor weight)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def deform_conv2d_backward(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `deform_conv2d` by image, offset, mask, weight and bias.

    The samples are taken anew rather than kept from the forward pass: they are nine times as large
    as the image.

    Args:
        grad: [B, O, H, W], the gradient by the output; the rest as in `deform_conv2d`.
    """
    kernel = weight.shape[-1]
    batch, channels, height, width = image.shape
    taps = kernel * kernel
    grid = _sampling_grid(offset, kernel)
    samples = _sample(image, grid).view(batch, channels, taps, -1)
    factors = mask.view(batch, 1, taps, -1).to(samples.dtype)
    grad_rows = grad.flatten(2).to(samples.dtype)
    grad_columns = torch.matmul(weight.flatten(1).t().to(samples.dtype), grad_rows)
    grad_columns = grad_columns.view(batch, channels, taps, -1)

    columns = (samples * factors).view(batch, channels * taps, -1)
    grad_weight = torch.matmul(grad_rows, columns.transpose(1, 2)).sum(0).view_as(weight)
    grad_mask = (grad_columns * samples).sum(1).view_as(mask)
    grad_image, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
        (grad_columns * factors).view(batch, channels, taps * height, width),
        image.to(grid.dtype),
        grid,
        0,  # bilinear
        0,  # zero padding
        False,  # corners not aligned
        [True, True],
    )
    grad_grid = grad_grid.view(batch, taps, height, width, 2)
    # The grid is 2 / size per cell, (x, y); offsets are (dy, dx).
    grad_offset = torch.stack(
        [grad_grid[..., 1] * (2 / height), grad_grid[..., 0] * (2 / width)], 2
    )
    return (
        grad_image.to(image.dtype),
        grad_offset.view_as(offset).to(offset.dtype),
        grad_mask.to(mask.dtype),
        grad_weight.to(weight.dtype),
        grad.sum((0, 2, 3)).to(weight.dtype),
    )


@deform_conv2d_backward.register_fake
def _(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        image.new_empty(image.shape),
        offset.new_empty(offset.shape),
        mask.new_empty(mask.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape[0]),
    )


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _backward(
    ctx: Any,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = deform_conv2d_backward(
        grad.contiguous(), *ctx.saved_tensors
    )
    return gradients


deform_conv2d.register_autograd(_backward, setup_context=_setup_context)


@cache
def _torchvision_kernel() -> Callable[..., Tensor] | None:
    """torchvision's fused kernel if it is installed and loads beside this torch, else None."""
    try:
        module = importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError, OSError):
        return None
    return cast("Callable[..., Tensor]", module.deform_conv2d)


class DeformConv(nn.Module):
    """A 3x3 convolution that learns where to look and how much each tap counts."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.offset_mask = nn.Conv2d(in_channels, 3 * 9, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as half a plain convolution: offsets 0, mask sigmoid(0)."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.offset_mask.weight)
        assert self.offset_mask.bias is not None
        nn.init.zeros_(self.offset_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, H, W]."""
        raw = self.offset_mask(x)
        # Explicit casts: under autocast the operator is called in the dtype of its image.
        offset = raw[:, :18].float() if raw.dtype.itemsize < 4 else raw[:, :18]
        mask = raw[:, 18:].sigmoid()
        dtype = raw.dtype
        out: Tensor = deform_conv2d(
            x.to(dtype), offset, mask, self.weight.to(dtype), self.bias.to(dtype)
        )
        return out
