"""Peaks of the centre heatmap, in a fixed number of slots."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from e2ec_core.model.structures import Features, Proposals, plant_seeds

HEATMAP_BIAS = -2.19
"""Logit of a heatmap that starts at 0.1 everywhere (Focal Loss, Lin et al., ICCV 2017)."""


class Peaks(NamedTuple):
    """The K best peaks of each image, best first; slots without a peak have score 0.

    Attributes:
        scores: [B, K] in 0..1.
        class_ids: [B, K] int64.
        cells: [B, K, 2] (x, y) heatmap cells as floating point, inside the map in every slot.
    """

    scores: Tensor
    class_ids: Tensor
    cells: Tensor


def decode_peaks(heatmap: Tensor, max_instances: int) -> Peaks:
    """Finds local maxima of the heatmap over 3x3 neighbourhoods and classes.

    One flat top-k over classes and cells equals the published top-k per class followed by a
    top-k over classes. One cell may give several peaks, one for each class.

    Args:
        heatmap: [B, C, h, w] logits.
        max_instances: K; may exceed the number of cells, the rest is then empty.
    """
    height, width = heatmap.shape[-2:]
    scores = heatmap.float().sigmoid() if heatmap.dtype.itemsize < 4 else heatmap.sigmoid()
    is_peak = F.max_pool2d(scores, 3, stride=1, padding=1) == scores
    flat = torch.where(is_peak, scores, 0.0).flatten(1)
    count = min(max_instances, flat.shape[1])
    best, index = flat.topk(count, dim=1)
    if count < max_instances:
        best = F.pad(best, (0, max_instances - count))
        index = F.pad(index, (0, max_instances - count))
    class_ids = index // (height * width)
    place = index % (height * width)
    cells = torch.stack([place % width, place // width], dim=2).to(scores.dtype)
    return Peaks(scores=best, class_ids=class_ids, cells=cells)


def best_peaks(features: Features, max_instances: int) -> Proposals:
    """The instances at the heatmap's peaks, with boxes if the detector has a box head.

    Args:
        features: of the batch, with a heatmap.
        max_instances: K.
    """
    assert features.heatmap is not None
    peaks = decode_peaks(features.heatmap, max_instances)
    seeds = plant_seeds(features, peaks.cells)
    return Proposals(seeds, peaks.scores, peaks.class_ids, boxes=seeds.boxes)
