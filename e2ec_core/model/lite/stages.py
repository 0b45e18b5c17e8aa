"""Contour stages of the lite preset: the paper's stages in units of the predicted box.

They differ from the published ones in what a few hundred labelled images can teach: offsets are
in units of the box, so one instance teaches all scales; all layers before an offset are
normalised and use GELU, since with plain ReLUs the evolutions died unseen; vertices read the
shape map of `region.py`, and evolutions read it along the contour's normal as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.lite.maps import MapsLayout
from e2ec_core.model.lite.region import enlarge, read_centre, sample_region
from e2ec_core.model.precision import in_float32
from e2ec_core.model.structures import STRIDE, Features, Region, Seeds


def _region(seeds: Seeds) -> Region:
    assert seeds.region is not None, "the lite stages need E2EC(region=...)"
    return seeds.region


def box_frame(seeds: Seeds) -> tuple[Tensor, Tensor]:
    """Centre and size of the boxes, each [B, K, 1, 2] input px; sides are at least 8 px."""
    assert seeds.boxes is not None
    boxes = enlarge(seeds.boxes, 1.0)[:, :, None]
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _hidden(in_features: int, out_features: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(in_features, out_features),
        nn.LayerNorm(out_features),
        nn.GELU(),
    )


def _ellipse(vertices: int) -> Tensor:
    """Ellipse inscribed in the unit box, [N, 2]; from the bottom, counter-clockwise on screen."""
    angle = torch.arange(vertices) * (2 * torch.pi / vertices)
    return torch.stack([angle.sin(), angle.cos()], dim=1) / 2


class LiteInitial(nn.Module):
    """Initial contour (paper, section 3.1): offsets regressed from the centre's features.

    The regression starts from the ellipse in the box, to which zero offsets lead.

    Args:
        layout: of the maps that it reads.
        code: length of the region's code.
        vertices: N.
        dropout: share of the inputs dropped in training.
    """

    ellipse: Tensor

    def __init__(
        self, layout: MapsLayout, code: int, vertices: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layout = layout
        self.hidden = _hidden(layout.feature.channels + code, 256, dropout)
        self.offsets = nn.Linear(256, 2 * vertices)
        nn.init.normal_(self.offsets.weight, std=1e-3)
        nn.init.zeros_(self.offsets.bias)
        self.register_buffer("ellipse", _ellipse(vertices))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LiteInitial:
        """Moves and casts the module; the ellipse holds coordinates and keeps its precision."""
        exact = self.ellipse
        super()._apply(fn, recurse)
        if self.ellipse.dtype.itemsize < 4:
            self.ellipse = exact.to(self.ellipse.device)
        return self

    def forward(self, features: Features, seeds: Seeds) -> Tensor:
        """Returns [B, K, N, 2] input px."""
        centre, size = box_frame(seeds)
        at_centre = read_centre(self.layout, features, seeds)
        hidden = self.hidden(torch.cat([at_centre, _region(seeds).code], dim=2))
        offsets = in_float32(self.offsets, hidden).unflatten(2, (-1, 2))
        return centre + (self.ellipse + offsets) * size


class LiteDeformation(nn.Module):
    """Global deformation (paper, section 3.1): all vertices' features move all vertices.

    Args:
        channels: channels of the shape map.
        code: length of the region's code.
        vertices: N.
        dropout: share of the inputs dropped in training.
    """

    def __init__(self, channels: int, code: int, vertices: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = _hidden((vertices + 1) * channels + code + 2 * vertices, 256, dropout)
        self.offsets = nn.Linear(256, 2 * vertices)
        nn.init.normal_(self.offsets.weight, std=1e-3)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, features: Features, seeds: Seeds, contour: Tensor) -> Tensor:
        """Returns the coarse contour, [B, K, N, 2] input px."""
        region = _region(seeds)
        centre, size = box_frame(seeds)
        base = contour.detach()
        points = torch.cat([seeds.cells[:, :, None] * STRIDE, contour], dim=2)
        sampled = sample_region(region, points).flatten(2)
        place = ((base - centre) / size).flatten(2)
        inputs = [sampled.to(place.dtype), region.code.to(place.dtype), place]
        hidden = in_float32(self.hidden, torch.cat(inputs, dim=2))
        return base + in_float32(self.offsets, hidden).unflatten(2, (-1, 2)) * size


class ResidualCircularBlock(nn.Module):
    """Residual circular convolution over the vertices, pre-normalised.

    Args:
        channels: channels in and out.
        dilation: step between the taps, vertices.
        kernel: taps, odd.
    """

    def __init__(self, channels: int, dilation: int, kernel: int = 5) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.conv = nn.Conv1d(
            channels,
            channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            padding_mode="circular",
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.gelu(self.norm(x)))


def normals(contour: Tensor) -> Tensor:
    """Unit normals at the vertices, [B, K, N, 2]; outward for counter-clockwise contours."""
    tangent = contour.roll(-1, dims=2) - contour.roll(1, dims=2)
    normal = torch.stack([-tangent[..., 1], tangent[..., 0]], dim=-1)
    return normal / (normal.norm(dim=-1, keepdim=True) + 1e-4)


def _along(contour: Tensor, direction: Tensor, reach: tuple[float, ...]) -> Tensor:
    """Points at every reach along a direction per vertex, [B, K, len(reach) * N, 2]."""
    return torch.cat([contour + step * direction for step in reach], dim=2)


def _per_vertex(sampled: Tensor, vertices: int) -> Tensor:
    """Samples of `_along`, [B, K, C, reach * N], as channels: [B, K, C * reach, N]."""
    return sampled.unflatten(3, (-1, vertices)).flatten(2, 3)


class LiteEvolution(nn.Module):
    """Contour evolution (paper, section 4): circular convolutions move each vertex.

    A vertex reads two maps along its normal: the shape map, so that it sees an outline some way
    off, and the detail map, whose cells stay fine however large the object is, `FINE_REACH`.

    Args:
        layout: of the maps that it reads.
        channels: channels of the shape map.
        code: length of the region's code.
        reach: how far along the normal a vertex sees, to both sides, in units of the box.
        state: channels of the circular convolutions.
        dilations: one block each.
        dropout: share of channels dropped before the offsets in training.
    """

    STEPS = 4
    FINE_REACH = (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0)
    """Where along its normal a vertex reads the detail map, input px."""

    def __init__(
        self,
        layout: MapsLayout,
        channels: int,
        code: int,
        *,
        reach: float,
        state: int = 64,
        dilations: tuple[int, ...] = (1, 1, 2, 4, 8),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.reach = tuple(
            reach * step / self.STEPS for step in range(-self.STEPS, self.STEPS + 1)
        )
        self.fine = layout.fine
        width = len(self.reach) * channels + len(self.FINE_REACH) * self.fine.channels + 4
        self.enter = nn.Conv1d(width, state, 1)
        self.code = nn.Linear(code, state)
        self.blocks = nn.Sequential(*(ResidualCircularBlock(state, step) for step in dilations))
        self.norm = nn.GroupNorm(4, state)
        self.dropout = nn.Dropout(dropout)
        self.offsets = nn.Conv1d(state, 2, 1)
        nn.init.normal_(self.offsets.weight, std=1e-3)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.bias)

    def forward(self, features: Features, seeds: Seeds, contour: Tensor) -> Tensor:
        """Returns the moved contour, [B, K, N, 2] input px."""
        batch, slots, count, _ = contour.shape
        region = _region(seeds)
        centre, size = box_frame(seeds)
        normal = normals(contour)
        shape = sample_region(region, _along(contour, normal * size, self.reach))
        assert features.fine is not None
        points = _along(contour, normal, self.FINE_REACH)
        fine = self.fine.sample(features.fine, points)
        place = torch.cat([(contour - centre) / size, normal], dim=-1).transpose(2, 3)
        read = (_per_vertex(sampled, count).to(place.dtype) for sampled in (shape, fine))
        x = in_float32(self.enter, torch.cat([*read, place], dim=2).flatten(0, 1))
        x = x + in_float32(self.code, region.code).flatten(0, 1)[..., None]
        x = F.gelu(in_float32(self.norm, in_float32(self.blocks, x)))
        offsets = in_float32(self.offsets, self.dropout(x))
        offsets = offsets.transpose(1, 2).view(batch, slots, count, 2)
        return contour + offsets * size
