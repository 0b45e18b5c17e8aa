"""Contour evolution: circular convolutions along the contour (paper, section 4).

Circular convolutions: Peng et al., Deep Snake, CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2ec_core.model.precision import autocast_type, in_float32
from e2ec_core.model.sampling import sample_vertices
from e2ec_core.model.structures import STRIDE, Features, Seeds

PUBLISHED_DILATIONS = (1, 1, 1, 2, 2, 4, 4)


class ContourNorm(nn.BatchNorm1d):
    """Batch norm whose statistics leave out the slots that only pad a training batch.

    Equals the plain batch norm of the instances alone, which the published model takes, without
    a shape that depends on their number.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, C, ...] to the same; `valid` is [n] bool."""
        if valid is None or not self.training:
            return super().forward(x)
        assert self.momentum is not None
        dims = (0, *range(2, x.dim()))
        kept = valid.view(-1, *(1,) * (x.dim() - 1))
        values = torch.where(kept, x, 0).to(torch.promote_types(x.dtype, torch.float32))
        count = (valid.sum() * x[0, 0].numel()).clamp(min=1)
        mean = values.sum(dims, keepdim=True) / count
        centred = torch.where(kept, values - mean, 0)
        variance = centred.square().sum(dims, keepdim=True) / count
        with torch.no_grad():
            # An empty batch moves nothing.
            momentum = self.momentum * valid.any()
            unbiased = variance.flatten() * count / (count - 1).clamp(min=1)
            for running, new in (
                (self.running_mean, mean.flatten()),
                (self.running_var, unbiased),
            ):
                assert running is not None
                running.lerp_(new.to(running.dtype), momentum.to(running.dtype))
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        shape = mean.shape[1:]
        scale = self.weight.view(shape) * (variance + self.eps).rsqrt()
        return (centred * scale + self.bias.view(shape)).to(x.dtype)


class ContourConv(nn.Conv1d):
    """A convolution along contours that are images of one row.

    With the channels last in memory this takes two thirds of the time on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, 1, N] -> [n, out, 1, M]."""
        return F.conv2d(x, self.weight[:, :, None], self.bias, dilation=(1, *self.dilation))


class CircularBlock(nn.Module):
    """Convolution around the closed contour, ReLU, batch norm (in the published order)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = ContourConv(in_channels, out_channels, kernel, dilation=dilation)
        self.reach = dilation * (kernel // 2)
        self.norm = ContourNorm(out_channels)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, in, 1, N] -> [n, out, 1, N]; `valid` [n] as in `ContourNorm`."""
        closed = torch.cat([x[..., -self.reach :], x, x[..., : self.reach]], dim=3)
        out: Tensor = self.norm(self.conv(closed).relu(), valid)
        return out


class ContourNet(nn.Module):
    """Features along closed contours to an offset per vertex; rolls with the contour.

    In half precision, by autocast or by its weights, the first layer, which reads coordinates, and
    the last, which gives them, still compute in float32.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        state: int = 128,
        kernel: int = 9,
        dilations: Sequence[int] = PUBLISHED_DILATIONS,
        fusion: int = 256,
        hidden: Sequence[int] = (256, 64),
    ) -> None:
        """Build the layers; the defaults are the published sizes.

        Args:
            in_channels: channels of a vertex.
            state: channels of every block.
            kernel: odd kernel size, in vertices.
            dilations: of the residual blocks; their number is the depth.
            fusion: channels of the feature of the whole contour.
            hidden: channels of the prediction's hidden layers.
        """
        super().__init__()
        self.head = CircularBlock(in_channels, state, kernel=kernel)
        self.blocks = nn.ModuleList(
            CircularBlock(state, state, kernel=kernel, dilation=dilation) for dilation in dilations
        )
        states = state * (len(dilations) + 1)
        self.fusion = ContourConv(states, fusion, 1)
        layers: list[nn.Module] = []
        width = fusion + states
        for out in hidden:
            layers += [ContourConv(width, out, 1), nn.ReLU()]
            width = out
        self.prediction = nn.Sequential(*layers, ContourConv(width, 2, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, in, N] -> [n, 2, N] (x, y); `valid` [n] as in `ContourNorm`."""
        x = x[:, :, None].contiguous(memory_format=torch.channels_last)
        dtype = autocast_type(x) or self.fusion.weight.dtype
        states = [in_float32(self.head, x, valid).to(dtype)]
        for block in self.blocks:
            states.append(block(states[-1], valid) + states[-1])
        state = torch.cat(states, dim=1)
        whole = self.fusion(state).amax(dim=3, keepdim=True)
        first, *rest, last = self.prediction
        assert isinstance(first, ContourConv)
        # Its input is the whole contour's feature, equal at every vertex, and then the vertex's.
        of_whole, of_vertex = first.weight[:, :, None].tensor_split([whole.shape[1]], dim=1)
        x = F.conv2d(state, of_vertex, first.bias) + F.conv2d(whole, of_whole)
        for layer in rest:
            x = layer(x)
        return in_float32(last, x)[:, :, 0]


class ContourEvolution(nn.Module):
    """One step: samples features at the vertices and moves each vertex (paper, section 4).

    Args:
        net: a network along the contour, from features and coordinates [n, C + 2, N], and a flag
            for each of the n that is no padding, to offsets [n, 2, N] in input px.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Features, seeds: Seeds, contour: Tensor) -> Tensor:
        """Moves the contour.

        Args:
            features: of the same batch.
            seeds: only their `valid` is read, in training.
            contour: [B, K, N, 2] (x, y), input px.

        Returns:
            [B, K, N, 2], input px.
        """
        sampled = sample_vertices(features.feature, contour, stride=STRIDE)
        # Canonical coordinates: relative to the contour's box, so that its place does not matter.
        canonical = contour - contour.amin(dim=2, keepdim=True)
        x = torch.cat([sampled.to(contour.dtype), canonical.transpose(2, 3)], dim=2).flatten(0, 1)
        valid = None if seeds.valid is None else seeds.valid.flatten()
        offsets = self.net(x, valid)
        return contour + offsets.unflatten(0, contour.shape[:2]).transpose(2, 3)
