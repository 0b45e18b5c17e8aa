"""Coordinates in float32, whatever arithmetic surrounds them.

Half precision is too coarse for pixels: above 512 px, neighbouring values of bfloat16 lie 4 px
apart. What reads or gives coordinates therefore runs in float32, under autocast and in models of
half precision as well. In float32 and float64 nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in, by the name of the precision."""


def in_float32(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """Calls a layer or another function of tensors in float32.

    Args:
        function: what to call; the weights of a layer may have half precision.
        inputs: its arguments; those of half precision are raised, all others stay.

    Returns:
        The result, at least float32.
    """
    raised = tuple(None if x is None else _at_least_float32(x) for x in inputs)
    tensor = next(x for x in raised if x is not None)
    if autocast_type(tensor) is not None:
        with torch.autocast(tensor.device.type, enabled=False):
            return in_float32(function, *raised)
    if isinstance(function, nn.Module) and next(function.parameters()).dtype.itemsize < 4:
        values = (*function.named_parameters(), *function.named_buffers())
        state = {name: _at_least_float32(value) for name, value in values}
        return functional_call(function, state, raised)
    return function(*raised)


def autocast_type(tensor: Tensor) -> torch.dtype | None:
    """What autocast computes in on a tensor's device; None without autocast."""
    device = tensor.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def _at_least_float32(tensor: Tensor) -> Tensor:
    is_half = tensor.is_floating_point() and tensor.dtype.itemsize < 4
    return tensor.float() if is_half else tensor
