"""A plain rendering of the published training loss, to compare with.

Written from a description of the published model, not from its code: every head on the whole map,
one image at a time where vertices read features, and the dynamic matching loss with all distances
at once. It works on the tensors of `plain_model`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from plain_model import EVOLUTIONS, Weights, detect, head, read_vertices, snake
from torch import Tensor

from e2ec_core.convert import published_name
from e2ec_core.learning.samples import Samples
from e2ec_core.model.e2ec import E2EC

POINTS = 10


def trained_weights(model: E2EC) -> Weights:
    """The parameters and buffers of a model themselves, by published name."""
    named = (*model.named_parameters(), *model.named_buffers())
    weights = Weights({published_name(name): value for name, value in named})
    weights.training = True
    return weights


def plain_loss(w: Weights, batch: Samples) -> Tensor:
    """The total loss of a batch, with the dynamic matching loss for the last evolution."""
    feature = detect(w, batch.image)
    heat = head(w, "dla.ct_hm", feature).sigmoid().clamp(1e-4, 1 - 1e-4)
    offsets = head(w, "dla.wh", feature)
    transformed = head(w, "train_decoder.refine.trans_feature", feature)
    pairs = []
    for b, valid in enumerate(batch.valid):
        centres = batch.cells[b, valid]
        x, y = centres.long().unbind(1)
        initial = centres[:, None] + 10 * offsets[b][:, y, x].T.unflatten(1, (-1, 2))
        points = torch.cat([centres[:, None], initial], 1)
        vectors = read_vertices(transformed[b], points).flatten(1)
        refine = "train_decoder.refine"
        moved = F.linear(vectors, w[f"{refine}.trans_poly.weight"])
        moved = F.linear(moved, w[f"{refine}.trans_fuse.weight"], w[f"{refine}.trans_fuse.bias"])
        pairs.append((4 * initial, 4 * (initial.detach() + 4 * moved.view_as(initial))))
    initial, coarse = (torch.cat(part) for part in zip(*pairs, strict=True))
    counts = [int(valid.sum()) for valid in batch.valid]
    contours = [coarse.detach()]
    for name in EVOLUTIONS:
        px = contours[-1]
        canonical = px - px.min(dim=1, keepdim=True)[0]
        features = [read_vertices(feature[b], part / 4) for b, part in enumerate(px.split(counts))]
        vertices = torch.cat([torch.cat(features), canonical.transpose(1, 2)], 1)
        contours.append(px + snake(w, f"gcn.{name}", vertices))
    target, keys = batch.contours[batch.valid], batch.keys[batch.valid]
    evolved = [F.smooth_l1_loss(contour, target) for contour in contours[1:-1]]
    evolved.append(matching_loss(*contours[-2:], target, keys))
    return (
        _focal_loss(heat, batch.heatmap)
        + 0.1 * F.smooth_l1_loss(initial, target)
        + 0.1 * F.smooth_l1_loss(coarse, target)
        + sum(evolved) / len(evolved)
    )


def _focal_loss(heat: Tensor, target: Tensor) -> Tensor:
    centre = target == 1
    found = (heat.log() * (1 - heat) ** 2)[centre].sum()
    rest = ((1 - heat).log() * heat**2 * (1 - target) ** 4)[~centre].sum()
    return -(found + rest) / centre.sum()


def matching_loss(previous: Tensor, predicted: Tensor, target: Tensor, keys: Tensor) -> Tensor:
    """The dynamic matching loss by its definition, for contours [n, N, 2], key vertices [n, N]."""
    share = torch.arange(POINTS, device=target.device).view(POINTS, 1) / POINTS
    start = target.roll(1, dims=1)[:, :, None]
    points = (start + share * (target[:, :, None] - start)).flatten(1, 2)
    with torch.no_grad():
        near = (points[:, :, None] - previous[:, None]).square().sum(-1).argmin(1)
        nearest = (target[:, :, None] - previous[:, None]).square().sum(-1).argmin(2)
    to_outline = F.smooth_l1_loss(predicted, points.take_along_dim(near[..., None], 1))
    matched = predicted.take_along_dim(nearest[..., None], 1)
    to_keys = F.smooth_l1_loss(matched, target, reduction="none") * keys[..., None]
    return (to_outline + to_keys.sum() / (2 * keys.sum() + 1)) / 2
