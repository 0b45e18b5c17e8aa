"""Modulated deformable convolution as fused Triton kernels, forward and backward, for GPUs.

An implicit matrix product: samples are blended in registers and multiplied with the weights where
they stand, so that the nine-fold columns never reach the memory. Positions, samples and sums are
float32 whatever the inputs are; the product itself has the inputs' precision (TF32 where PyTorch
allows it for convolutions). Maps are read with the channels last. Arguments are those of
`deform_conv.deform_conv2d`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_PIXELS = 64
"""Pixels of a program."""
_PROGRAMS = 1024
"""Programs that share the sum over pixels in the gradient of the weights, at least, if it has
as many blocks of pixels."""


@triton.jit
def _tap(
    offset, mask, pixel, tap, height, width, pixels,
    KERNEL: tl.constexpr,
):  # fmt: skip
    """Where a tap of some pixels is read: image, corner above left, shares beyond it, factor."""
    area = height * width
    inside = pixel < pixels
    batch = pixel // area
    place = pixel % area
    row = place // width + tap // KERNEL - KERNEL // 2
    column = place % width + tap % KERNEL - KERNEL // 2
    taps: tl.constexpr = KERNEL * KERNEL
    at = (batch * 2 * taps + 2 * tap) * area + place
    y = row + tl.load(offset + at, mask=inside, other=0.0).to(tl.float32)
    x = column + tl.load(offset + at + area, mask=inside, other=0.0).to(tl.float32)
    # Beyond these bounds all four corners lie outside; an index stays a small number.
    lost = (y != y) | (x != x)
    y = tl.where(lost, -2.0, tl.minimum(tl.maximum(y, -2.0), height + 0.0))
    x = tl.where(lost, -2.0, tl.minimum(tl.maximum(x, -2.0), width + 0.0))
    above, left = tl.floor(y), tl.floor(x)
    at = (batch * taps + tap) * area + place
    factor = tl.load(mask + at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.where(lost, float("nan"), factor)
    return batch, above.to(tl.int32), left.to(tl.int32), y - above, x - left, factor, inside


@triton.jit
def _corner(image, batch, row, column, channel, height, width, channels, inside):
    """Values [pixels, channels] of cells, zeros outside; addresses; and which are inside."""
    here = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = (batch.to(tl.int64) * height + row) * width + column
    at = at[:, None] * channels + channel[None, :]
    kept = here[:, None] & (channel < channels)[None, :]
    return tl.load(image + at, mask=kept, other=0.0).to(tl.float32), at, kept


@triton.jit
def _sample(image, batch, above, left, down, across, channel, height, width, channels, inside):
    """Bilinear samples [pixels, channels]."""
    v00, _, _ = _corner(image, batch, above, left, channel, height, width, channels, inside)
    v01, _, _ = _corner(image, batch, above, left + 1, channel, height, width, channels, inside)
    v10, _, _ = _corner(image, batch, above + 1, left, channel, height, width, channels, inside)
    v11, _, _ = _corner(
        image, batch, above + 1, left + 1, channel, height, width, channels, inside
    )
    upper = v00 * (1 - across)[:, None] + v01 * across[:, None]
    lower = v10 * (1 - across)[:, None] + v11 * across[:, None]
    return upper * (1 - down)[:, None] + lower * down[:, None]


@triton.jit
def _forward_kernel(
    image, offset, mask, weight, bias, out,
    height, width, pixels, channels, outputs,
    KERNEL: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Outputs of some pixels and output channels; weight is [taps, C, O]."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    kept = output < outputs
    total = tl.zeros([PIXELS, OUTPUTS], tl.float32)
    total += tl.load(bias + output, mask=kept, other=0.0).to(tl.float32)[None, :]
    for tap in range(KERNEL * KERNEL):
        batch, above, left, down, across, factor, inside = _tap(
            offset, mask, pixel, tap, height, width, pixels, KERNEL
        )
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            sample = _sample(
                image, batch, above, left, down, across, channel, height, width, channels, inside
            )
            rows = (tap * channels + channel)[:, None] * outputs
            some = (channel < channels)[:, None] & kept[None, :]
            factors = tl.load(weight + rows + output[None, :], mask=some, other=0.0)
            column = (sample * factor[:, None]).to(factors.dtype)
            total = tl.dot(column, factors, total, input_precision=PRECISION)
    at = pixel.to(tl.int64)[:, None] * outputs + output[None, :]
    tl.store(
        out + at, total.to(out.dtype.element_ty), mask=(pixel < pixels)[:, None] & kept[None, :]
    )


@triton.jit
def _backward_kernel(
    grad, image, offset, mask, weight, grad_image, grad_offset, grad_mask,
    height, width, pixels, channels, outputs,
    KERNEL: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Gradients by image, offset and mask of one tap of some pixels; weight is [taps, O, C]."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    tap = tl.program_id(1)
    batch, above, left, down, across, factor, inside = _tap(
        offset, mask, pixel, tap, height, width, pixels, KERNEL
    )
    up, back = 1 - down, 1 - across
    by_mask = tl.zeros([PIXELS], tl.float32)
    by_y = tl.zeros([PIXELS], tl.float32)
    by_x = tl.zeros([PIXELS], tl.float32)
    for first in range(0, channels, CHANNELS):
        channel = first + tl.arange(0, CHANNELS)
        known = channel < channels
        # The gradient by the column: what the outputs ask of this tap's samples.
        column = tl.zeros([PIXELS, CHANNELS], tl.float32)
        for start in range(0, outputs, OUTPUTS):
            output = start + tl.arange(0, OUTPUTS)
            kept = output < outputs
            at = pixel.to(tl.int64)[:, None] * outputs + output[None, :]
            asked = tl.load(grad + at, mask=inside[:, None] & kept[None, :], other=0.0)
            rows = (tap * outputs + output)[:, None] * channels
            factors = tl.load(
                weight + rows + channel[None, :], mask=kept[:, None] & known[None, :], other=0.0
            )
            column = tl.dot(asked, factors, column, input_precision=PRECISION)
        v00, a00, k00 = _corner(
            image, batch, above, left, channel, height, width, channels, inside
        )
        v01, a01, k01 = _corner(
            image, batch, above, left + 1, channel, height, width, channels, inside
        )
        v10, a10, k10 = _corner(
            image, batch, above + 1, left, channel, height, width, channels, inside
        )
        v11, a11, k11 = _corner(
            image, batch, above + 1, left + 1, channel, height, width, channels, inside
        )
        upper = v00 * back[:, None] + v01 * across[:, None]
        lower = v10 * back[:, None] + v11 * across[:, None]
        by_mask += tl.sum(column * (upper * up[:, None] + lower * down[:, None]), 1)
        column *= factor[:, None]
        by_y += tl.sum(column * (lower - upper), 1)
        by_x += tl.sum(column * ((v01 - v00) * up[:, None] + (v11 - v10) * down[:, None]), 1)
        tl.atomic_add(grad_image + a00, column * (up * back)[:, None], mask=k00, sem="relaxed")
        tl.atomic_add(grad_image + a01, column * (up * across)[:, None], mask=k01, sem="relaxed")
        tl.atomic_add(grad_image + a10, column * (down * back)[:, None], mask=k10, sem="relaxed")
        tl.atomic_add(grad_image + a11, column * (down * across)[:, None], mask=k11, sem="relaxed")
    area = height * width
    taps: tl.constexpr = KERNEL * KERNEL
    place = pixel % area
    at = (batch * taps + tap) * area + place
    tl.store(grad_mask + at, by_mask.to(grad_mask.dtype.element_ty), mask=inside)
    at = (batch * 2 * taps + 2 * tap) * area + place
    tl.store(grad_offset + at, by_y.to(grad_offset.dtype.element_ty), mask=inside)
    tl.store(grad_offset + at + area, by_x.to(grad_offset.dtype.element_ty), mask=inside)


@triton.jit
def _weight_kernel(
    grad, image, offset, mask, parts,
    height, width, pixels, channels, outputs, share,
    KERNEL: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """The gradient by the weights of one tap, from every `share`-th block of pixels.

    Parts are [share, taps, C, O]; their sum is the gradient.
    """
    taps: tl.constexpr = KERNEL * KERNEL
    blocks = tl.cdiv(channels, CHANNELS)
    tap = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    part = tl.program_id(2)
    kept = output < outputs
    total = tl.zeros([CHANNELS, OUTPUTS], tl.float32)
    for first in range(part * PIXELS, pixels, share * PIXELS):
        pixel = first + tl.arange(0, PIXELS)
        batch, above, left, down, across, factor, inside = _tap(
            offset, mask, pixel, tap, height, width, pixels, KERNEL
        )
        sample = _sample(
            image, batch, above, left, down, across, channel, height, width, channels, inside
        )
        at = pixel.to(tl.int64)[:, None] * outputs + output[None, :]
        asked = tl.load(grad + at, mask=inside[:, None] & kept[None, :], other=0.0)
        column = tl.trans((sample * factor[:, None]).to(asked.dtype))
        total = tl.dot(column, asked, total, input_precision=PRECISION)
    rows = ((part * taps + tap) * channels + channel)[:, None] * outputs
    tl.store(
        parts + rows + output[None, :],
        total,
        mask=(channel < channels)[:, None] & kept[None, :],
    )


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _launch_options(image: Tensor, weight: Tensor) -> dict[str, Any]:
    """What all kernels are told of shapes, blocks and precision."""
    batch, channels, height, width = image.shape
    outputs, _, kernel, _ = weight.shape
    exact = image.dtype == torch.float32 and not torch.backends.cudnn.allow_tf32

    # Blocks of 64 in float32 need more shared memory than most GPUs have.
    most = 32 if image.dtype == torch.float32 else 64

    def block(size: int) -> int:
        return max(16, min(most, triton.next_power_of_2(size)))

    return {
        **{"height": height, "width": width, "pixels": batch * height * width},
        **{"channels": channels, "outputs": outputs, "KERNEL": kernel},
        **{"PRECISION": "ieee" if exact else "tf32", "PIXELS": _PIXELS},
        **{"CHANNELS": block(channels), "OUTPUTS": block(outputs), "num_stages": 2},
    }


def forward(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The output [B, O, H, W], channels last in memory."""
    options = _launch_options(image, weight)
    batch, _, height, width = image.shape
    outputs = weight.shape[0]
    out = image.new_empty(batch, height, width, outputs).permute(0, 3, 1, 2)
    grid = (
        triton.cdiv(options["pixels"], _PIXELS),
        triton.cdiv(outputs, options["OUTPUTS"]),
    )
    _forward_kernel[grid](
        _channels_last(image),
        offset.contiguous(),
        mask.contiguous(),
        weight.flatten(2).permute(2, 1, 0).contiguous(),
        bias,
        out,
        **options,
    )
    return out


def backward(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by image (channels last in memory), offset, mask, weight and bias.

    Args:
        grad: [B, O, H, W], by the output.
    """
    options = _launch_options(image, weight)
    grad, image = _channels_last(grad), _channels_last(image)
    offset, mask = offset.contiguous(), mask.contiguous()
    grad_image = torch.zeros_like(image, dtype=torch.float32)
    grad_offset, grad_mask = torch.empty_like(offset), torch.empty_like(mask)
    taps = weight[0, 0].numel()
    blocks = triton.cdiv(options["pixels"], _PIXELS)
    _backward_kernel[blocks, taps](
        grad,
        image,
        offset,
        mask,
        weight.flatten(2).permute(2, 0, 1).contiguous(),
        grad_image,
        grad_offset,
        grad_mask,
        **options,
    )
    outputs, channels = weight.shape[:2]
    rows = taps * triton.cdiv(channels, options["CHANNELS"])
    columns = triton.cdiv(outputs, options["OUTPUTS"])
    share = max(1, min(blocks, _PROGRAMS // (rows * columns)))
    parts = grad.new_empty(share, taps, channels, outputs, dtype=torch.float32)
    grid = (rows, columns, share)
    _weight_kernel[grid](grad, image, offset, mask, parts, share=share, **options)
    grad_weight = parts.sum(0).permute(2, 1, 0).to(weight.dtype).reshape(weight.shape)
    grad_bias = grad.sum((0, 2, 3), dtype=torch.float32).to(weight.dtype)
    return grad_image.to(image.dtype), grad_offset, grad_mask, grad_weight, grad_bias
