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


def in_float32(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """Calls a layer or another function of tensors in float32.

    Args:
        function: what to call; the weights of a layer may have half precision.
        inputs: its arguments; those of half precision are raised, all others stay.

    Returns:
        The result, at least float32.
    """
    raised = [None if x is None else _at_least_float32(x) for x in inputs]
    device = next(x for x in raised if x is not None).device.type
    if isinstance(function, nn.Module) and next(function.parameters()).dtype.itemsize < 4:
        values = (*function.named_parameters(), *function.named_buffers())
        state = {name: _at_least_float32(value) for name, value in values}
        return functional_call(function, state, tuple(raised))
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return function(*raised)
    with torch.autocast(device, enabled=False):
        return function(*raised)


def _at_least_float32(tensor: Tensor) -> Tensor:
    is_half = tensor.is_floating_point() and tensor.dtype.itemsize < 4
    return tensor.float() if is_half else tensor
