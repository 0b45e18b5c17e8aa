"""A plain rendering of the published model's inference, to compare with.

Written from a description of the published model, not from its code: every head on the whole map,
batch norms as they are, one image at a time from the peaks on, contours for all that pass the
threshold. It works on tensors by published name. Deformable convolution is what the published
model's compiled one does, columns of one image and a matrix product: torchvision's where that is
installed, otherwise by grid_sample.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from e2ec_core.convert import published_name
from e2ec_core.model.e2ec import E2EC


class Weights(dict[str, Tensor]):
    """Tensors by published name; `training` lets norms take the statistics of the batch."""

    training = False


MEAN_BGR = (0.40789654, 0.44719302, 0.47026115)
STD_BGR = (0.28863828, 0.27408164, 0.27809835)
EVOLUTIONS = ("evolve_gcn", "evolve_gcn0", "evolve_gcn1")
DILATIONS = (1, 1, 1, 2, 2, 4, 4)
try:
    _compiled = importlib.import_module("torchvision.ops").deform_conv2d
except (ImportError, RuntimeError, OSError):
    _compiled = None


class PlainResult(NamedTuple):
    """Of one image, best first: contours of all stages [n, N, 2] input px, scores, class ids."""

    contours: list[Tensor]
    scores: Tensor
    class_ids: Tensor


def plain_weights(model: E2EC, device: torch.device | None = None) -> Weights:
    """A copy of a model's weights by published name, on a device (that of the model)."""
    state = model.state_dict()
    return Weights({published_name(k): v.clone().to(device) for k, v in state.items()})


def find(
    w: Weights, images: Tensor, *, slots: int = 100, threshold: float = 0.05
) -> list[PlainResult]:
    """The instances of images [B, 3, H, W] RGB, 0..255."""
    feature = detect(w, images)
    heat = head(w, "dla.ct_hm", feature).sigmoid()
    offsets = head(w, "dla.wh", feature)
    transformed = head(w, "train_decoder.refine.trans_feature", feature)
    found = []
    for b in range(len(images)):
        centres, scores, class_ids = _peaks(heat[b], slots)
        kept = scores >= threshold
        centres, scores, class_ids = centres[kept], scores[kept], class_ids[kept]
        contours = _grow(w, feature[b], offsets[b], transformed[b], centres)
        found.append(PlainResult(contours, scores, class_ids))
    return found


def detect(w: Weights, images: Tensor) -> Tensor:
    """Feature map [B, 64, H/4, W/4]."""
    mean, std = (
        torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN_BGR, STD_BGR)
    )
    bgr = ((images.flip(1).float() / 255 - mean) / std).to(images.dtype)
    four, eight, sixteen, last = _backbone(w, bgr)
    sixteen_, out16 = _aggregate(w, "dla.dla_up.ida_0", [sixteen, last], [2])
    eight_, sixteen_, out8 = _aggregate(w, "dla.dla_up.ida_1", [eight, sixteen_, out16], [2, 2])
    out4 = _aggregate(w, "dla.dla_up.ida_2", [four, eight_, sixteen_, out8], [2, 2, 2])[-1]
    return _aggregate(w, "dla.ida_up", [out4, out8, out16], [2, 4])[-1]


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    parts = (w[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, training=w.training, momentum=0.1, eps=1e-5)


def _conv_norm(w: Weights, conv: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{conv}.weight"]
    return _norm(w, norm, F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2))


def _block(w: Weights, name: str, x: Tensor, residual: Tensor, stride: int) -> Tensor:
    out = F.relu(_conv_norm(w, f"{name}.conv1", f"{name}.bn1", x, stride))
    return F.relu(_conv_norm(w, f"{name}.conv2", f"{name}.bn2", out) + residual)


def _tree(w: Weights, name: str, x: Tensor, stride: int, children: list[Tensor]) -> Tensor:
    """A tree of one level: two blocks and the root."""
    bottom = F.max_pool2d(x, stride) if stride > 1 else x
    residual = bottom
    if f"{name}.project.0.weight" in w:
        residual = _conv_norm(w, f"{name}.project.0", f"{name}.project.1", bottom)
    x1 = _block(w, f"{name}.tree1", x, residual, stride)
    x2 = _block(w, f"{name}.tree2", x1, x1, 1)
    joined = torch.cat([x2, x1, *children], dim=1)
    return F.relu(_conv_norm(w, f"{name}.root.conv", f"{name}.root.bn", joined))


def _backbone(w: Weights, x: Tensor) -> list[Tensor]:
    x = F.relu(_conv_norm(w, "dla.base.base_layer.0", "dla.base.base_layer.1", x))
    x = F.relu(_conv_norm(w, "dla.base.level0.0", "dla.base.level0.1", x))
    x = F.relu(_conv_norm(w, "dla.base.level1.0", "dla.base.level1.1", x, 2))
    maps = [_tree(w, "dla.base.level2", x, 2, [])]
    for level in ("dla.base.level3", "dla.base.level4"):
        bottom = F.max_pool2d(maps[-1], 2)
        x1 = _tree(w, f"{level}.tree1", maps[-1], 2, [])
        maps.append(_tree(w, f"{level}.tree2", x1, 1, [bottom, x1]))
    maps.append(_tree(w, "dla.base.level5", maps[-1], 2, [F.max_pool2d(maps[-1], 2)]))
    return maps


def _deformable(w: Weights, name: str, x: Tensor) -> Tensor:
    raw = F.conv2d(
        x, w[f"{name}.conv_offset_mask.weight"], w[f"{name}.conv_offset_mask.bias"], padding=1
    )
    offset, mask = raw[:, :18], raw[:, 18:].sigmoid()
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    if _compiled is not None:
        return _compiled(x, offset, weight, bias, padding=1, mask=mask)
    # As the compiled one, with columns of one image at a time, made anew for the gradient.
    out = [
        checkpoint(_product, *one, weight, bias, use_reentrant=False)
        for one in zip(x, offset, mask, strict=True)
    ]
    return torch.stack(out)


def _product(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Columns of one image [C, H, W], times the weights."""
    channels, height, width = x.shape
    tap = torch.arange(9, device=x.device).view(9, 1, 1)
    row, column = (torch.arange(n, device=x.device, dtype=x.dtype) for n in (height, width))
    at_y = offset[0::2] + row[:, None] + (tap // 3 - 1)
    at_x = offset[1::2] + column + (tap % 3 - 1)
    grid = torch.stack([(2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1], dim=-1)
    samples = F.grid_sample(x[None], grid.view(1, 9 * height, width, 2), align_corners=False)
    columns = samples.view(channels, 9, height, width) * mask
    product = torch.addmm(bias[:, None], weight.flatten(1), columns.view(channels * 9, -1))
    return product.view(-1, height, width)


def _aggregate(w: Weights, name: str, maps: list[Tensor], factors: list[int]) -> list[Tensor]:
    maps = list(maps)
    for i, f in enumerate(factors, 1):
        x = F.relu(
            _norm(w, f"{name}.proj_{i}.actf.0", _deformable(w, f"{name}.proj_{i}.conv", maps[i]))
        )
        up = w[f"{name}.up_{i}.weight"]
        x = F.conv_transpose2d(x, up, stride=f, padding=f // 2, groups=x.shape[1]) + maps[i - 1]
        x = _deformable(w, f"{name}.node_{i}.conv", x)
        maps[i] = F.relu(_norm(w, f"{name}.node_{i}.actf.0", x))
    return maps


def head(w: Weights, name: str, x: Tensor) -> Tensor:
    """A head's output on the whole map."""
    x = F.relu(F.conv2d(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], padding=1))
    return F.conv2d(x, w[f"{name}.2.weight"], w[f"{name}.2.bias"])


def _peaks(heat: Tensor, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres [slots, 2] (x, y) in cells, scores and class ids of a heatmap [C, h, w].

    The best of each class are taken first, then the best of these.
    """
    height, width = heat.shape[1:]
    heat = heat * (F.max_pool2d(heat[None], 3, stride=1, padding=1)[0] == heat)
    scores, cells = heat.flatten(1).topk(min(slots, height * width))
    best, index = scores.flatten().topk(min(slots, scores.numel()))
    cell = cells.flatten()[index]
    centres = torch.stack([cell % width, cell // width], 1).to(heat.dtype)
    return centres, best, index // scores.shape[1]


def read_vertices(feature: Tensor, points: Tensor) -> Tensor:
    """[n, C, P] of a map [C, h, w] at points [n, P, 2] in cells."""
    size = torch.tensor([feature.shape[2], feature.shape[1]], device=feature.device)
    grid = points / (size / 2) - 1
    return F.grid_sample(feature[None], grid[None], align_corners=False)[0].permute(1, 0, 2)


def _circular(w: Weights, name: str, x: Tensor, dilation: int) -> Tensor:
    x = F.pad(x, (4 * dilation, 4 * dilation), mode="circular")
    x = F.conv1d(x, w[f"{name}.conv.fc.weight"], w[f"{name}.conv.fc.bias"], dilation=dilation)
    return _norm(w, f"{name}.norm", F.relu(x))


def snake(w: Weights, name: str, x: Tensor) -> Tensor:
    """Vertices [n, 66, N] to offsets [n, N, 2]."""
    states = [_circular(w, f"{name}.head", x, 1)]
    for i, dilation in enumerate(DILATIONS):
        states.append(_circular(w, f"{name}.res{i}", states[-1], dilation) + states[-1])
    state = torch.cat(states, dim=1)
    whole = F.conv1d(state, w[f"{name}.fusion.weight"], w[f"{name}.fusion.bias"])
    whole = whole.max(dim=2, keepdim=True)[0].expand(-1, -1, state.shape[2])
    x = torch.cat([whole, state], dim=1)
    for layer in (0, 2, 4):
        x = F.conv1d(x, *(w[f"{name}.prediction.{layer}.{p}"] for p in ("weight", "bias")))
        x = F.relu(x) if layer < 4 else x
    return x.transpose(1, 2)


def _clip(contours: Tensor, width: int, height: int) -> Tensor:
    x, y = contours.unbind(-1)
    return torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], -1)


def _grow(
    w: Weights, feature: Tensor, offsets: Tensor, transformed: Tensor, centres: Tensor
) -> list[Tensor]:
    """Contours [n, N, 2] of every stage, input px, of one image's centres [n, 2] in cells."""
    height, width = feature.shape[-2:]
    x, y = centres.long().unbind(1)
    initial = _clip(
        centres[:, None] + 10 * offsets[:, y, x].T.unflatten(1, (-1, 2)), width, height
    )
    vectors = read_vertices(transformed, torch.cat([centres[:, None], initial], 1)).flatten(1)
    refine = "train_decoder.refine"
    moved = F.linear(vectors, w[f"{refine}.trans_poly.weight"])
    moved = F.linear(moved, w[f"{refine}.trans_fuse.weight"], w[f"{refine}.trans_fuse.bias"])
    coarse = _clip(initial + 4 * moved.view_as(initial), width, height)
    contours = [initial * 4, coarse * 4]
    for name in EVOLUTIONS:
        if f"gcn.{name}.fusion.weight" in w:
            px = contours[-1]
            canonical = px - px.min(dim=1, keepdim=True)[0]
            vertices = torch.cat([read_vertices(feature, px / 4), canonical.transpose(1, 2)], 1)
            contours.append(px + snake(w, f"gcn.{name}", vertices))
    return contours
