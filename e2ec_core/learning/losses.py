"""Losses of contour stages and heatmap: pure functions on padded batches.

Contours come as [B, K, N, 2] (or flat [n, N, 2]) in network-input px, with `valid`
([B, K] or [n], bool) telling instances from padding. Padding may hold anything, nan
included; it gives neither loss nor gradient. Nothing here waits for the device: no shape depends
on how many instances are valid.

`scale` (broadcast over vertices: [B, K] or [B, K, 2]) divides contours before they are
compared; a model trained in units of its boxes passes the boxes' sizes in px.

`counts` replaces what a mean divides by, where a batch is only a part of the step (one of several
processes or accumulated parts): the parts' losses then add up to the loss of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from e2ec_core.settings import check, setting

_POINTS_PER_EDGE = 10
_INSTANCES_AT_ONCE = 128

LastStageLoss = Literal["smooth_l1", "chamfer", "dynamic_matching", "none"]


class Counts(NamedTuple):
    """What the means of the losses divide by; float scalars that add up over parts of a step."""

    instances: Tensor
    keys: Tensor
    """Key vertices of all instances."""
    centres: Tensor
    """Cells of the heatmap that are exactly 1."""
    objects: Tensor
    """Whole objects: `instances`, unless these are components of objects."""
    components: Tensor
    """Cells of the component maps that are exactly 1."""
    whole: Tensor
    """Instances whose amodal outline is known, for a model of both outlines."""
    whole_keys: Tensor
    """Key vertices of these outlines."""


def count_targets(
    heatmap: Tensor,
    keys: Tensor,
    valid: Tensor,
    objects: Tensor | None = None,
    component_heat: Tensor | None = None,
    whole: tuple[Tensor, Tensor] | None = None,
) -> Counts:
    """Counts of one batch.

    Args:
        heatmap: [B, C, h, w].
        keys: bool [B, K, N].
        valid: bool [B, K].
        objects: bool [B, K], of a model with components.
        component_heat: [B, K, 14, 56], likewise.
        whole: of a model with a second outline, valid slots bool [B, K] and keys bool [B, K, N].
    """
    key_count = (keys.bool() & valid.bool()[..., None]).sum()
    whole_valid, whole_keys = whole or (valid & False, keys)
    whole_valid = whole_valid & valid.bool()
    object_count = (valid if objects is None else objects).sum()
    components = object_count if component_heat is None else (component_heat == 1).sum()
    counts = (
        *(valid.sum(), key_count, (heatmap == 1).sum(), object_count, components),
        *(whole_valid.sum(), (whole_keys & whole_valid[..., None]).sum()),
    )
    return Counts(*(n.float() for n in counts))


def heatmap_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    counts: Counts | None = None,
    alpha: float = 2.0,
    beta: float = 4.0,
) -> Tensor:
    """Penalty-reduced focal loss of CenterNet, divided by the number of centres.

    Args:
        logits: [B, C, h, w], before the sigmoid.
        target: [B, C, h, w] in 0..1; exactly 1 marks a centre, less is the Gaussian around it.
        weight: optional factor per cell, broadcast to [B, C, h, w]; 0 ignores a region.
        counts: see module docstring.
        alpha: exponent of the error.
        beta: exponent that softens the penalty near a centre.

    Returns:
        Scalar; without any centre the plain sum over the background, as published.
    """
    full = logits.float() if _is_half(logits) else logits
    score = full.sigmoid().clamp(1e-4, 1 - 1e-4)
    is_centre = target == 1
    at_centre = score.log() * (1 - score) ** alpha
    elsewhere = (1 - score).log() * score**alpha * (1 - target) ** beta
    term = torch.where(is_centre, at_centre, elsewhere)
    if weight is not None:
        term = term * weight
        is_centre = is_centre & (weight > 0)
    centres = is_centre.sum() if counts is None else counts.centres
    return -term.sum() / centres.clamp(min=1)


def contour_smooth_l1(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    scale: Tensor | None = None,
    beta: float = 1.0,
    counts: Counts | None = None,
) -> Tensor:
    """Smooth L1 between paired vertices, averaged over valid instances, vertices, and x and y.

    Args:
        predicted: [B, K, N, 2], input px.
        target: same, aligned with `predicted` vertex by vertex.
        valid: bool [B, K].
        scale: divisor, [B, K] or [B, K, 2].
        beta: where the loss turns from quadratic to linear, in (scaled) units.
        counts: see module docstring.

    Returns:
        Scalar; 0 (with a gradient of 0) if no instance is valid.
    """
    predicted, target = _prepare(valid, scale, predicted, target)
    per_instance = F.smooth_l1_loss(predicted, target, beta=beta, reduction="none").mean((-2, -1))
    return mean_over_valid(per_instance, valid, counts)


def chamfer_loss(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    scale: Tensor | None = None,
    counts: Counts | None = None,
) -> Tensor:
    """Symmetric chamfer distance: mean distance to the nearest vertex, both ways, averaged.

    Needs no alignment of the two contours. Arguments as in `contour_smooth_l1`; the two may have
    different numbers of vertices.

    Returns:
        Scalar, in (scaled) px; 0 if no instance is valid.
    """
    predicted, target = _prepare(valid, scale, predicted, target)
    shape = valid.shape
    predicted, target = predicted.flatten(0, -3), target.flatten(0, -3)
    to_target = _nearest_vertex(predicted, target)
    to_predicted = _nearest_vertex(target, predicted)
    forth = _distance(predicted, _take(target, to_target)).mean(-1)
    back = _distance(target, _take(predicted, to_predicted)).mean(-1)
    return mean_over_valid(((forth + back) / 2).view(shape), valid, counts)


def dynamic_matching_loss(
    previous: Tensor,
    predicted: Tensor,
    target: Tensor,
    keys: Tensor,
    valid: Tensor,
    *,
    scale: Tensor | None = None,
    beta: float = 1.0,
    counts: Counts | None = None,
) -> Tensor:
    """Dynamic matching loss (paper, section 3.3): vertices meet the nearest part of the outline.

    Half of it draws each predicted vertex to the nearest of ten points per target edge; the other
    half draws, to each key vertex of the target, the nearest predicted vertex. Who is nearest is
    decided on the contour *before* the last evolution: matching the prediction itself would
    confirm its own mistakes. As published, and unlike the paper's formula: smooth L1 for L1, and
    the second half is divided by the batch's count of key coordinates plus one.

    Args:
        previous: contours before the last evolution, [B, K, N, 2], input px; only matched.
        predicted: contours after it, which receive the gradient.
        target: ground truth, [B, K, N, 2].
        keys: bool [B, K, N], key vertices of the target.
        valid: bool [B, K].
        scale: divisor, [B, K] or [B, K, 2]; matching happens in scaled units.
        beta: of the smooth L1.
        counts: see module docstring.

    Returns:
        Scalar; 0 if no instance is valid.
    """
    previous, predicted, target = _prepare(valid, scale, previous.detach(), predicted, target)
    shape = valid.shape
    previous, predicted, target = (c.flatten(0, -3) for c in (previous, predicted, target))
    outline = _nearest_on_outline(previous, target)
    to_outline = F.smooth_l1_loss(predicted, outline, beta=beta, reduction="none").mean((-2, -1))
    matched = _take(predicted, _nearest_vertex(target, previous))
    to_keys = F.smooth_l1_loss(matched, target, beta=beta, reduction="none")
    weight = (keys.bool() & valid.bool()[..., None]).flatten(0, -2)[..., None].to(to_keys)
    key_count = weight.sum() if counts is None else counts.keys
    key_term = (to_keys * weight).sum() / (2 * key_count + 1)
    return (mean_over_valid(to_outline.view(shape), valid, counts) + key_term) / 2


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Factors of the terms in the total loss; defaults as published (and in the paper)."""

    heatmap: float = setting(1.0, "of the heatmap's loss", low=0.0)
    initial: float = setting(0.1, "of the initial contour's loss", low=0.0)
    coarse: float = setting(0.1, "of the coarse contour's loss", low=0.0)
    evolutions: float = setting(
        1.0,
        "shared by all evolutions: each term counts `evolutions / number of evolutions`",
        low=0.0,
    )

    def __post_init__(self) -> None:
        check(self, "loss.weights.")


class ContourLosses(NamedTuple):
    """Unweighted terms (scalars) and their weighted total, without the heatmap."""

    initial: Tensor
    coarse: Tensor
    evolutions: tuple[Tensor, ...]
    """Of each evolution; the last by the loss that was chosen for it."""
    total: Tensor


def contour_losses(
    stages: Sequence[Tensor],
    target: Tensor,
    keys: Tensor,
    valid: Tensor,
    *,
    last_stage: LastStageLoss,
    last_evolutions: int = 1,
    initial_target: Tensor | None = None,
    weights: LossWeights | None = None,
    scale: Tensor | None = None,
    beta: float = 1.0,
    matching_beta: float = 1.0,
    counts: Counts | None = None,
) -> ContourLosses:
    """All contour terms of one step.

    Args:
        stages: initial, coarse and evolved contours in order, each [B, K, N, 2], input px.
        target: aligned ground truth, [B, K, N, 2].
        keys: bool [B, K, N].
        valid: bool [B, K].
        last_stage: loss of the last evolution; all other stages are trained by smooth L1.
            Published: `none` before epoch 10, then `dynamic_matching`.
        last_evolutions: how many of the last evolutions `chamfer` or `dynamic_matching` trains
            (published: 1).
        initial_target: what the initial contour learns where that is not the ground truth.
        weights: factors of the terms.
        scale: see module docstring.
        beta: of the smooth L1.
        matching_beta: of the smooth L1 in the dynamic matching loss; 0 makes it the L1 norm.
        counts: see module docstring.

    Raises:
        ValueError: fewer than two stages.
    """
    if len(stages) < 2:
        raise ValueError(f"stages must hold at least initial and coarse, received {len(stages)}")
    weights = weights or LossWeights()
    special = {"smooth_l1": 0, "none": 1}.get(last_stage, last_evolutions)
    plain = stages[: len(stages) - min(special, len(stages) - 2)]
    targets = [target if initial_target is None else initial_target, *[target] * len(plain[1:])]
    terms = [
        contour_smooth_l1(stage, wanted, valid, scale=scale, beta=beta, counts=counts)
        for stage, wanted in zip(plain, targets, strict=True)
    ]
    for previous, stage in zip(stages[len(plain) - 1 : -1], stages[len(plain) :], strict=True):
        if last_stage == "none":
            term = _no_loss(stage, valid)
        elif last_stage == "chamfer":
            term = chamfer_loss(stage, target, valid, scale=scale, counts=counts)
        else:
            term = dynamic_matching_loss(
                previous,
                stage,
                target,
                keys,
                valid,
                scale=scale,
                beta=matching_beta,
                counts=counts,
            )
        terms.append(term)
    initial, coarse, *evolutions = terms
    total = weights.initial * initial + weights.coarse * coarse
    if evolutions:
        total = total + weights.evolutions * torch.stack(evolutions).mean()
    return ContourLosses(initial, coarse, tuple(evolutions), total)


def _no_loss(contours: Tensor, valid: Tensor) -> Tensor:
    """Zero that still hangs on the stage's parameters, as data-parallel training needs."""
    return _mask_padding(contours, valid).sum() * 0


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float16, torch.bfloat16)


def _mask_padding(contours: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid.bool()[..., None, None], contours, torch.zeros_like(contours))


def _prepare(valid: Tensor, scale: Tensor | None, *contours: Tensor) -> list[Tensor]:
    """Zeroes padding, scales, and lifts half precision (px squared overflow it)."""
    lifted = [_mask_padding(c.float() if _is_half(c) else c, valid) for c in contours]
    if scale is None:
        return lifted
    if scale.dim() == valid.dim():
        scale = scale[..., None]
    safe = torch.where(valid.bool()[..., None], scale, torch.ones_like(scale))
    return [c / safe[..., None, :].to(c) for c in lifted]


def mean_over_valid(per_instance: Tensor, valid: Tensor, counts: Counts | None = None) -> Tensor:
    """Mean of [B, K] over the valid, or their sum over `counts.instances`."""
    weight = valid.to(per_instance)
    count = weight.sum() if counts is None else counts.instances
    return (per_instance * weight).sum() / count.clamp(min=1)


def _take(points: Tensor, index: Tensor) -> Tensor:
    """`points[n, index[n, m]]`: [n, P, 2] and [n, m] to [n, m, 2]."""
    return points.take_along_dim(index[..., None], 1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # The root's gradient at 0 is infinite; the smallest float keeps it finite there.
    return (a - b).square().sum(-1).clamp(min=torch.finfo(a.dtype).tiny).sqrt()


def _chunks(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A bounded number of instances at a time: their distance tables have [n, N, N] entries."""
    for start in range(0, max(len(a), 1), _INSTANCES_AT_ONCE):
        some = slice(start, start + _INSTANCES_AT_ONCE)
        yield a[some], b[some]


@torch.no_grad()
def _nearest_vertex(points: Tensor, vertices: Tensor) -> Tensor:
    """For each of `points [n, M, 2]` the nearest of `vertices [n, P, 2]`: int64 [n, M]."""
    found = []
    for some_points, some_vertices in _chunks(points, vertices):
        offset = some_points[:, :, None] - some_vertices[:, None]
        found.append(offset.square().sum(-1).argmin(-1))
    return torch.cat(found)


@torch.no_grad()
def _nearest_on_outline(points: Tensor, contours: Tensor) -> Tensor:
    """For each point the nearest among ten points per edge of a contour: [n, M, 2].

    The squared distance along one edge is a parabola, so the nearest of its evenly spread points
    is the one nearest to the foot of the perpendicular. That takes [n, M, N] values and not
    [n, M, 10 N].

    Args:
        points: [n, M, 2].
        contours: [n, N, 2]; edge i runs from vertex i-1 to i and gives the points at 0, 0.1,
            ..., 0.9 of its length.
    """
    found = []
    for some_points, ends in _chunks(points, contours):
        start = ends.roll(1, dims=1)
        edge = ends - start
        arm = some_points[:, :, None] - start[:, None]
        length2 = edge.square().sum(-1).clamp(min=torch.finfo(edge.dtype).tiny)
        foot = (arm * edge[:, None]).sum(-1) / length2[:, None]
        step = (foot * _POINTS_PER_EDGE).round().clamp(0, _POINTS_PER_EDGE - 1) / _POINTS_PER_EDGE
        distance2 = (arm - step[..., None] * edge[:, None]).square().sum(-1)
        best = distance2.argmin(-1)
        along = step.gather(2, best[..., None])
        found.append(_take(start, best) + along * _take(edge, best))
    return torch.cat(found)
