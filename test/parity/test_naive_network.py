"""Other weights, image sizes and class counts, against a plain functional form of the network.

The reference below works on tensors by published name, evaluates every head on the whole map,
takes deformable samples by four gathers, and handles one instance at a time.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from e2ec_core.config import ModelConfig
from e2ec_core.convert import published_name
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC

Weights = dict[str, Tensor]


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, var = w[f"{name}.running_mean"].view(shape), w[f"{name}.running_var"].view(shape)
    scale, bias = w[f"{name}.weight"].view(shape), w[f"{name}.bias"].view(shape)
    return (x - mean) / torch.sqrt(var + 1e-5) * scale + bias


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


def _pixel(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """[B, C, H, W] of [B, C, h, w] at integer indices [B, H, W], zeros outside."""
    batch, channels, height, width = image.shape
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    index = index.view(batch, 1, -1).expand(-1, channels, -1)
    values = torch.gather(image.flatten(2), 2, index).view(batch, channels, *y.shape[1:])
    return values * inside[:, None]


def _dcn(w: Weights, name: str, x: Tensor) -> Tensor:
    raw = F.conv2d(
        x, w[f"{name}.conv_offset_mask.weight"], w[f"{name}.conv_offset_mask.bias"], padding=1
    )
    height, width = x.shape[-2:]
    out = w[f"{name}.bias"].view(1, -1, 1, 1)
    for tap in range(9):
        y = raw[:, 2 * tap] + torch.arange(height).view(-1, 1) + tap // 3 - 1
        left = raw[:, 2 * tap + 1] + torch.arange(width) + tap % 3 - 1
        y0, x0 = y.floor(), left.floor()
        sample = torch.zeros_like(x)
        for dy in (0, 1):
            for dx in (0, 1):
                part = (1 - (y - y0 - dy).abs()) * (1 - (left - x0 - dx).abs())
                sample = sample + part[:, None] * _pixel(x, (y0 + dy).long(), (x0 + dx).long())
        sample = sample * raw[:, 18 + tap, None].sigmoid()
        weight = w[f"{name}.weight"][:, :, tap // 3, tap % 3]
        out = out + torch.einsum("oc,bchw->bohw", weight, sample)
    return out


def _aggregate(w: Weights, name: str, maps: list[Tensor], factors: list[int]) -> list[Tensor]:
    maps = list(maps)
    for i in range(1, len(maps)):
        x = _dcn(w, f"{name}.proj_{i}.conv", maps[i])
        x = F.relu(_norm(w, f"{name}.proj_{i}.actf.0", x))
        f = factors[i - 1]
        up = w[f"{name}.up_{i}.weight"]
        x = F.conv_transpose2d(x, up, stride=f, padding=f // 2, groups=x.shape[1])
        x = _dcn(w, f"{name}.node_{i}.conv", x + maps[i - 1])
        maps[i] = F.relu(_norm(w, f"{name}.node_{i}.actf.0", x))
    return maps


def _neck(w: Weights, maps: list[Tensor]) -> Tensor:
    four, eight, sixteen, last = maps
    sixteen_, last = _aggregate(w, "dla.dla_up.ida_0", [sixteen, last], [2])
    out16 = last
    eight_, sixteen_, last = _aggregate(w, "dla.dla_up.ida_1", [eight, sixteen_, last], [2, 2])
    out8 = last
    merged = _aggregate(w, "dla.dla_up.ida_2", [four, eight_, sixteen_, last], [2, 2, 2])
    return _aggregate(w, "dla.ida_up", [merged[-1], out8, out16], [2, 4])[-1]


def _head(w: Weights, name: str, x: Tensor) -> Tensor:
    x = F.relu(F.conv2d(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], padding=1))
    return F.conv2d(x, w[f"{name}.2.weight"], w[f"{name}.2.bias"])


def _read(feature: Tensor, points: Tensor) -> Tensor:
    """[C, P] of one map [C, h, w] at points [P, 2] in cells, the published way."""
    size = torch.tensor([feature.shape[2], feature.shape[1]], dtype=feature.dtype)
    grid = points / (size / 2) - 1
    return F.grid_sample(feature[None], grid[None, None], align_corners=False)[0, :, 0]


def _circular(w: Weights, name: str, x: Tensor, dilation: int) -> Tensor:
    """One circular convolution by rolling, for x [C, N]."""
    weight = w[f"{name}.conv.fc.weight"]
    out = w[f"{name}.conv.fc.bias"][:, None].expand(-1, x.shape[1])
    for k in range(9):
        out = out + weight[:, :, k] @ torch.roll(x, -(k - 4) * dilation, dims=1)
    return _norm(w, f"{name}.norm", F.relu(out)[None])[0]


def _snake(w: Weights, name: str, x: Tensor) -> Tensor:
    states = [_circular(w, f"{name}.head", x, 1)]
    for i, dilation in enumerate((1, 1, 1, 2, 2, 4, 4)):
        states.append(_circular(w, f"{name}.res{i}", states[-1], dilation) + states[-1])
    state = torch.cat(states)
    whole = w[f"{name}.fusion.weight"][:, :, 0] @ state + w[f"{name}.fusion.bias"][:, None]
    x = torch.cat([whole.max(dim=1, keepdim=True)[0].expand(-1, state.shape[1]), state])
    for layer in (0, 2, 4):
        weight, bias = (w[f"{name}.prediction.{layer}.{part}"] for part in ("weight", "bias"))
        x = weight[:, :, 0] @ x + bias[:, None]
        x = F.relu(x) if layer < 4 else x
    return x.T


def _clip(contour: Tensor, width: int, height: int) -> Tensor:
    return torch.stack([contour[:, 0].clamp(0, width - 1), contour[:, 1].clamp(0, height - 1)], 1)


def _grow(w: Weights, feature: Tensor, centre: Tensor, evolutions: int) -> list[Tensor]:
    """All contours of one instance, input px, from maps [1, C, h, w] and a centre in cells."""
    height, width = feature.shape[-2:]
    x, y = centre.long().tolist()
    offsets = _head(w, "dla.wh", feature)[0, :, y, x].view(-1, 2)
    initial = _clip(centre + 10 * offsets, width, height)
    transformed = _head(w, "train_decoder.refine.trans_feature", feature)[0]
    vector = _read(transformed, torch.cat([centre[None], initial])).reshape(-1)
    moved = w["train_decoder.refine.trans_poly.weight"] @ vector
    moved = w["train_decoder.refine.trans_fuse.weight"] @ moved
    moved = (moved + w["train_decoder.refine.trans_fuse.bias"]).view(-1, 2)
    contour = _clip(initial + 4 * moved, width, height)
    contours = [initial * 4, contour * 4]
    for name in ["evolve_gcn", "evolve_gcn0", "evolve_gcn1"][:evolutions]:
        px = contours[-1]
        canonical = px - px.min(dim=0)[0]
        vertices = torch.cat([_read(feature[0], px / 4), canonical.T])
        contours.append(px + _snake(w, f"gcn.{name}", vertices))
    return contours


def _random_model(classes: int, vertices: int, evolutions: int) -> E2EC:
    """A model in which every layer matters: random norms, offsets, and scales of order one."""
    names = tuple(f"class {i}" for i in range(classes))
    config = ModelConfig(
        preset="e2ec_dla34", class_names=names, vertices=vertices, evolutions=evolutions
    )
    model = build_model(config).double().eval()
    generator = torch.Generator().manual_seed(classes)
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        random = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        if key.endswith("running_var") or (key.endswith("weight") and value.dim() == 1):
            random = 0.5 + random.abs()
        elif value.dim() > 1 and "upsamplings" not in key:
            random = random / math.sqrt(value[0].numel())
        else:
            random = 0.2 * random
        value.copy_(random)
    return model


@pytest.mark.parametrize(
    ("classes", "size", "vertices", "evolutions"),
    [(1, (64, 96), 128, 3), (7, (96, 64), 40, 2), (3, (32, 160), 64, 0)],
)
def test_every_stage_equals_the_plain_network(
    classes: int, size: tuple[int, int], vertices: int, evolutions: int
) -> None:
    model = _random_model(classes, vertices, evolutions)
    w = {published_name(key): value for key, value in model.state_dict().items()}
    images = torch.randint(0, 256, (2, 3, *size)).double()
    mean = torch.tensor([0.40789654, 0.44719302, 0.47026115]).view(3, 1, 1)
    std = torch.tensor([0.28863828, 0.27408164, 0.27809835]).view(3, 1, 1)
    bgr = ((images.flip(1).float() / 255 - mean) / std).double()
    with torch.inference_mode():
        feature = _neck(w, _backbone(w, bgr))
        heat = _head(w, "dla.ct_hm", feature).sigmoid()
        stages = [
            model(images, max_instances=5, stage=stage) for stage in ("initial", "coarse", "final")
        ]
        maps = model.detect(images)
    torch.testing.assert_close(maps.feature, feature, rtol=1e-9, atol=1e-9)
    coarse = stages[1].contours / 4
    inside = (coarse > 0) & (coarse < torch.tensor(feature.shape[:-3:-1]) - 1)
    assert float(inside.double().mean()) > 0.25, "nearly every vertex is clipped: a weak check"
    peaks = torch.where(F.max_pool2d(heat, 3, 1, 1) == heat, heat, 0.0).flatten(1).topk(5)
    area = feature.shape[-1] * feature.shape[-2]
    torch.testing.assert_close(stages[0].scores, peaks.values, rtol=1e-9, atol=1e-12)
    assert torch.equal(stages[0].class_ids, peaks.indices // area)
    for b in range(2):
        for slot in range(5):
            cell = int(peaks.indices[b, slot]) % area
            centre = torch.tensor([cell % feature.shape[-1], cell // feature.shape[-1]]).double()
            contours = _grow(w, feature[b : b + 1], centre, evolutions)
            for ours, theirs in zip(stages, (contours[0], contours[1], contours[-1]), strict=True):
                torch.testing.assert_close(ours.contours[b, slot], theirs, rtol=0, atol=1e-6)
