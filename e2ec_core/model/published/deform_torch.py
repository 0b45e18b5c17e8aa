"""Modulated deformable convolution in plain PyTorch, for every device and floating type.

The taps of a few rows at a time are gathered into columns, which a matrix product multiplies with
the weights: nothing nine times as large as the batch is ever stored. Backward gathers them anew.
Positions are at least float32: half precision would quantise them to half a cell above index 512.
Arguments are those of `deform_conv.deform_conv2d`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_COLUMN_BYTES = 2**25
"""Most columns that a CPU gathers at a time."""
_SUM = 0
"""Mode of PyTorch's embedding bags."""


class _Samples(NamedTuple):
    """Where the taps of some rows are read, each [rows, W, taps] unless said otherwise."""

    first: Tensor
    """int32, the cell above and to the left, in the padded image."""
    stride: int
    """Cells of a row of the padded image."""
    down: Tensor
    """How far below that cell's row, 0..1."""
    right: Tensor
    """How far to the right of its column, 0..1."""
    mask: Tensor
    """The factor of the tap."""

    def cut(self, rows: slice) -> _Samples:
        """Some of the rows."""
        return _Samples(
            self.first[rows], self.stride, self.down[rows], self.right[rows], self.mask[rows]
        )

    def corners(self) -> Tensor:
        """int32 [rows * W * taps * 4], the cells around each sample."""
        first, stride = self.first, self.stride
        return torch.stack([first, first + 1, first + stride, first + stride + 1], -1).flatten()

    def factors(self) -> Tensor:
        """[rows * W * taps * 4], how much each of these cells counts."""
        below = self.down * self.mask
        above = self.mask - below
        left = 1 - self.right
        corners = [above * left, above * self.right, below * left, below * self.right]
        return torch.stack(corners, -1).flatten()

    def gradients(self, by_factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """By row and column of the position and by mask, from gradients by the factors."""
        above_left, above_right, below_left, below_right = by_factor.view(
            *self.first.shape, 4
        ).unbind(-1)
        above = above_left + self.right * (above_right - above_left)
        below = below_left + self.right * (below_right - below_left)
        left = above_left + self.down * (below_left - above_left)
        right = above_right + self.down * (below_right - above_right)
        by_row, by_column = (below - above) * self.mask, (right - left) * self.mask
        return by_row, by_column, above + self.down * (below - above)


def forward(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The output [B, O, H, W], channels last in memory."""
    batch, channels, height, width = image.shape
    kernel = weight.shape[-1]
    taps = kernel * kernel
    out = image.new_empty(batch, height, width, weight.shape[0]).permute(0, 3, 1, 2)
    as_columns = weight.flatten(2)[:, :, None]  # [O, C, 1, taps]
    for b in range(batch):
        cells, samples = _cells(image[b]), _samples(offset[b], mask[b], kernel)
        for rows in _rows(image, taps):
            part = samples.cut(rows)
            columns = _gather(cells, part.corners(), part.factors())
            columns = columns.view(1, -1, width * taps, channels).permute(0, 3, 1, 2)
            out[b, :, rows] = F.conv2d(columns, as_columns, bias, stride=(1, taps))[0]
    return out


def backward(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by image (channels last in memory), offset, mask, weight and bias.

    Args:
        grad: [B, O, H, W], by the output.
    """
    channels, kernel = weight.shape[1:3]
    height, width = image.shape[-2:]
    taps = kernel * kernel
    dtype = torch.promote_types(offset.dtype, torch.float32)
    grad_image = torch.empty_like(image, memory_format=torch.channels_last)
    grad_offset, grad_mask = (
        torch.empty_like(t, memory_format=torch.contiguous_format) for t in (offset, mask)
    )
    by_tap = weight.permute(0, 2, 3, 1).flatten(1)  # [O, taps * C]
    grad_by_tap = torch.zeros_like(by_tap, dtype=dtype)
    for b in range(len(image)):
        cells, samples = _cells(image[b]), _samples(offset[b], mask[b], kernel)
        grad_cells = torch.zeros_like(cells, dtype=dtype)
        for rows in _rows(image, taps):
            part = samples.cut(rows)
            index, factors = part.corners(), part.factors()
            columns = _gather(cells, index, factors).view(-1, taps * channels)
            by_output = grad[b, :, rows].flatten(1).to(image.dtype)
            grad_by_tap += by_output @ columns
            by_column = (by_output.t() @ by_tap).view(-1, channels).to(dtype)
            by_cell, by_factor = _scatter(by_column, cells.to(dtype), index, factors)
            grad_cells += by_cell
            by_row, by_column, by_mask = part.gradients(by_factor)
            by_position = torch.stack([by_row, by_column], -1).flatten(2)
            grad_offset[b, :, rows] = by_position.permute(2, 0, 1)
            grad_mask[b, :, rows] = by_mask.permute(2, 0, 1)
        padded = grad_cells.view(height + 4, width + 4, channels)
        grad_image[b] = padded[2:-2, 2:-2].permute(2, 0, 1)
    grad_weight = grad_by_tap.view(-1, kernel, kernel, channels).permute(0, 3, 1, 2)
    grad_bias = grad.sum((0, 2, 3), dtype=dtype)
    return (
        grad_image,
        grad_offset,
        grad_mask,
        grad_weight.to(weight.dtype).contiguous(),
        grad_bias.to(weight),
    )


def _rows(image: Tensor, taps: int) -> Iterator[slice]:
    """Rows of the output [B, C, H, W] of which columns are made at a time."""
    _, channels, height, width = image.shape
    row_bytes = width * taps * channels * image.dtype.itemsize
    count = height if image.device.type != "cpu" else max(1, _COLUMN_BYTES // row_bytes)
    for top in range(0, height, count):
        yield slice(top, min(top + count, height))


def _cells(image: Tensor) -> Tensor:
    """The cells [(H + 4) * (W + 4), C] of an image [C, H, W] within two zeros on each side."""
    return F.pad(image.permute(1, 2, 0), (0, 0, 2, 2, 2, 2)).flatten(0, 1)


def _samples(offset: Tensor, mask: Tensor, kernel: int) -> _Samples:
    """Where the taps of one image are read; offset [2 * taps, H, W], mask [taps, H, W]."""
    dtype = torch.promote_types(offset.dtype, torch.float32)
    offset, mask = offset.permute(1, 2, 0).to(dtype), mask.permute(1, 2, 0).to(dtype)
    height, width, taps = mask.shape
    offset = offset.unflatten(2, (-1, 2))  # (dy, dx)
    rows, columns = (
        torch.arange(size, device=offset.device, dtype=dtype) for size in (height, width)
    )
    tap = torch.arange(taps, device=offset.device)
    down, across = tap // kernel - kernel // 2, tap % kernel - kernel // 2
    y = offset[..., 0] + (rows[:, None, None] + down)
    x = offset[..., 1] + (columns[:, None] + across)
    # Beyond these bounds all four cells are padding.
    y, x = y.clamp(-2, height), x.clamp(-2, width)
    above, left = y.floor(), x.floor()
    stride = width + 4
    first = (above.int() + 2) * stride + left.int() + 2
    first = first.clamp(0, (height + 2) * stride + width + 2)  # positions may be NaN
    return _Samples(first, stride, y - above, x - left, mask)


def _gather(cells: Tensor, index: Tensor, factors: Tensor) -> Tensor:
    """The samples [n, C]: sums of four cells each, index and factors [4 * n]."""
    return torch.embedding_bag(
        cells, index, _bags(index), mode=_SUM, per_sample_weights=factors.to(cells.dtype)
    )[0]


def _scatter(grad: Tensor, cells: Tensor, index: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `_gather` by cells and factors; grad [n, C]."""
    bags = _bags(index)
    sample = torch.arange(len(bags), device=index.device, dtype=index.dtype).repeat_interleave(4)
    unused = bags.new_zeros(0)
    by_cell = torch.ops.aten._embedding_bag_dense_backward(
        grad, index, sample, unused, unused, len(cells), False, _SUM, factors
    )
    by_factor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad, cells, index, bags, sample, _SUM
    )
    return by_cell, by_factor


def _bags(index: Tensor) -> Tensor:
    """Where the four cells of each sample begin."""
    return torch.arange(0, len(index), 4, device=index.device, dtype=index.dtype)
