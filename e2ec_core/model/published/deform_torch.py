"""Modulated deformable convolution in plain PyTorch, for every device and floating type.

Forward, the taps of a few rows at a time are gathered into columns, which one convolution then
multiplies with the weights: nothing nine times as large as the batch is ever stored. Positions
are at least float32: half precision would quantise them to half a cell above index 512. Arguments
are those of `deform_conv.deform_conv2d`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_COLUMN_BYTES = 2**25
"""Most columns that a CPU gathers at a time."""


def forward(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The output [B, O, H, W], channels last in memory."""
    batch, channels, height, width = image.shape
    kernel = weight.shape[-1]
    taps = kernel * kernel
    out = image.new_empty(batch, height, width, weight.shape[0]).permute(0, 3, 1, 2)
    row_bytes = width * taps * channels * image.dtype.itemsize
    rows = height if image.device.type != "cpu" else max(1, _COLUMN_BYTES // row_bytes)
    bags = torch.arange(rows * width * taps, device=image.device, dtype=torch.int32) * 4
    as_columns = weight.flatten(2)[:, :, None]  # [O, C, 1, taps]
    for b in range(batch):
        cells, index, factors = _corners(image[b], offset[b], mask[b], kernel)
        for top in range(0, height, rows):
            some = slice(top, top + rows)
            count = index[some].shape[0] * width * taps
            columns = torch.embedding_bag(
                cells,
                index[some].flatten(),
                bags[:count],
                mode=0,  # the sum
                per_sample_weights=factors[some].flatten(),
            )[0]
            columns = columns.view(1, -1, width * taps, channels)
            out[b, :, some] = F.conv2d(
                columns.permute(0, 3, 1, 2), as_columns, bias, stride=(1, taps)
            )[0]
    return out


def _corners(
    image: Tensor, offset: Tensor, mask: Tensor, kernel: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The four cells around every sample of one image, and how much each counts.

    Returns:
        cells [(H + 3) * (W + 3), C] of the image within its padding of zeros; index int32 and
        factor, of the image's type, both [H, W, taps, 4].
    """
    _, height, width = image.shape
    dtype = torch.promote_types(offset.dtype, torch.float32)
    offset, mask = offset.permute(1, 2, 0).to(dtype), mask.permute(1, 2, 0).to(dtype)
    y, x = _positions(offset.unflatten(2, (-1, 2)), kernel)
    # Beyond these bounds all four cells are padding.
    y, x = y.clamp(-1, height), x.clamp(-1, width)
    above, left = y.floor(), x.floor()
    below, right = (y - above) * mask, x - left
    above_factor = mask - below
    factors = torch.stack(
        [above_factor * (1 - right), above_factor * right, below * (1 - right), below * right], -1
    )
    stride = width + 3
    first = (above.int() + 1) * stride + left.int() + 1
    first = first.clamp(0, (height + 1) * stride + width + 1)  # positions may be NaN
    index = torch.stack([first, first + 1, first + stride, first + stride + 1], -1)
    padded = F.pad(image.permute(1, 2, 0), (0, 0, 1, 2, 1, 2))
    return padded.flatten(0, 1), index, factors.to(image.dtype)


def _positions(offset: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Rows and columns where taps are read, [H, W, taps], for offsets [H, W, taps, 2] (dy, dx)."""
    height, width, taps, _ = offset.shape
    rows, columns = (
        torch.arange(size, device=offset.device, dtype=offset.dtype) for size in (height, width)
    )
    tap = torch.arange(taps, device=offset.device)
    down, across = tap // kernel - kernel // 2, tap % kernel - kernel // 2
    y = offset[..., 0] + (rows[:, None, None] + down)
    x = offset[..., 1] + (columns[:, None] + across)
    return y, x


def backward(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by image (channels last in memory), offset, mask, weight and bias.

    The samples are taken anew, image by image, rather than kept from the forward pass.

    Args:
        grad: [B, O, H, W], by the output.
    """
    grad_image = torch.empty_like(image, memory_format=torch.channels_last)
    grad_offset, grad_mask = (
        torch.empty_like(t, memory_format=torch.contiguous_format) for t in (offset, mask)
    )
    dtype = torch.promote_types(offset.dtype, torch.float32)
    grad_weight = torch.zeros_like(weight, dtype=dtype, memory_format=torch.contiguous_format)
    for b in range(len(image)):
        found = _backward_of_one(
            grad[b].to(dtype),
            image[b].to(dtype),
            offset[b].to(dtype),
            mask[b].to(dtype),
            weight.to(dtype),
        )
        grad_image[b], grad_offset[b], grad_mask[b] = found[:3]
        grad_weight += found[3]
    grad_bias = grad.sum((0, 2, 3), dtype=dtype)
    return grad_image, grad_offset, grad_mask, grad_weight.to(weight.dtype), grad_bias.to(weight)


def _backward_of_one(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of one image, without the batch axis, by image, offset, mask and weight."""
    kernel = weight.shape[-1]
    channels, height, width = image.shape
    taps = kernel * kernel
    y, x = _positions(offset.permute(1, 2, 0).unflatten(2, (taps, 2)), kernel)
    # grid_sample without aligned corners puts index i of n at (2i + 1) / n - 1, and with zero
    # padding it has exactly the corner rule of deformable convolution. The taps are folded into
    # the height, so that one call serves.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    grid = grid.permute(2, 0, 1, 3).reshape(1, taps * height, width, 2)
    image = image[None].contiguous()
    samples = F.grid_sample(image, grid, align_corners=False).view(channels, taps, -1)
    factors = mask.reshape(taps, -1)
    grad_rows = grad.flatten(1)
    grad_columns = (weight.flatten(1).t() @ grad_rows).view(channels, taps, -1)
    columns = (samples * factors).view(channels * taps, -1)
    grad_image, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
        (grad_columns * factors).view(1, channels, taps * height, width),
        image,
        grid,
        0,  # bilinear
        0,  # zero padding
        False,  # corners not aligned
        [True, True],
    )
    grad_grid = grad_grid.view(taps, height, width, 2)
    # The grid is 2 / size per cell, (x, y); offsets are (dy, dx).
    grad_offset = torch.stack(
        [grad_grid[..., 1] * (2 / height), grad_grid[..., 0] * (2 / width)], 1
    )
    return (
        grad_image[0],
        grad_offset.view_as(offset),
        (grad_columns * samples).sum(0).view_as(mask),
        (grad_rows @ columns.t()).view_as(weight),
    )
