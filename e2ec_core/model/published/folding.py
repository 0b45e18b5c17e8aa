"""Weights made ready for inference: batch norms folded, large layers in half precision."""

from __future__ import annotations

import re

import torch
from torch import nn

from e2ec_core.model.published.deform_conv import DeformConv
from e2ec_core.model.published.dla import BasicBlock, Root
from e2ec_core.model.published.neck import NeckConv

_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    NeckConv: (("conv", "norm"),),
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Root: (("conv", "bn"),),
    nn.Sequential: (("0", "1"),),
}
"""Convolution and batch norm by the names of the modules that hold both."""


_HALVED = re.compile(
    r"detector\.(backbone|neck)\.|evolutions\.\d+\.net\.(blocks|fusion|prediction\.[02])\."
)
"""Names of weights that autocast rounds: those of no layer that reads or gives coordinates."""


def fold_norms(model: nn.Module) -> None:
    """Folds the batch norms of backbone and neck, in place.

    The model then computes the same in evaluation mode. It can no longer be trained, and its state
    is no checkpoint's.
    """
    for module in list(model.modules()):
        for conv_name, norm_name in _PAIRS.get(type(module), ()):
            conv = module._modules.get(conv_name)
            norm = module._modules.get(norm_name)
            if isinstance(conv, nn.Conv2d | DeformConv) and isinstance(norm, nn.BatchNorm2d):
                _fold(conv, norm)
                module._modules[norm_name] = nn.Identity()


@torch.no_grad()
def _fold(conv: nn.Conv2d | DeformConv, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = norm.weight.double() / (variance + norm.eps).sqrt()
    bias = -mean if conv.bias is None else conv.bias.double() - mean
    shifted = bias * scale + norm.bias.double()
    conv.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    conv.bias = nn.Parameter(shifted.to(conv.weight.dtype))


def halve_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Stores most weights of a model in half precision, in place.

    Under autocast to this type the model then computes the same without rounding them for every
    image anew: 29 million in `e2ec_dla34`. It can no longer be trained.

    Args:
        dtype: what autocast computes in.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and _HALVED.match(name):
            parameter.data = parameter.data.to(dtype)
