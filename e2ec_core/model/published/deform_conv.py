"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019) as one PyTorch operator.

``torch.ops.e2ec.deform_conv2d`` needs no compiled extension and is opaque to tracing, so that the
exporter can map it to ONNX's DeformConv. On GPUs `deform_triton` computes it if Triton is
installed, which PyTorch for CUDA brings on Linux; `deform_torch` does everywhere else. Its
semantics are those of the DCNv2 kernel and of ``torchvision.ops.deform_conv2d``: tap k = kernel *
row + column; offsets (dy, dx) interleaved over the taps; bilinear interpolation with zeros outside
the map. The stride is 1, the kernel square and odd, the padding keeps the size.
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from e2ec_core.model.published import deform_torch


class Body(Protocol):
    """What computes the operator: a module with these two functions."""

    def forward(
        self, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor: ...

    def backward(
        self, grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]: ...


def _check(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> None:
    """Raises ValueError where the shapes do not belong together."""
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
        [B, O, H, W], channels last in memory.

    Raises:
        ValueError: if shapes do not belong together.
    """
    _check(image, offset, mask, weight)
    return _body(image).forward(image, offset, mask, weight, bias)


@deform_conv2d.register_fake
def _(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, _, height, width = image.shape
    return image.new_empty(batch, height, width, weight.shape[0]).permute(0, 3, 1, 2)


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

    Args:
        grad: [B, O, H, W], the gradient by the output; the rest as in `deform_conv2d`.
    """
    return _body(image).backward(grad, image, offset, mask, weight)


@deform_conv2d_backward.register_fake
def _(
    grad: Tensor, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(image, memory_format=torch.channels_last),
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


def _body(image: Tensor) -> Body:
    """What computes the operator for such an image."""
    fused = _fused_kernel() if image.is_cuda else None
    return deform_torch if fused is None or image.dtype.itemsize > 4 else fused


@cache
def _fused_kernel() -> Body | None:
    """The kernel for GPUs, None without Triton."""
    try:
        return cast("Body", importlib.import_module("e2ec_core.model.published.deform_triton"))
    except ImportError:
        return None


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
