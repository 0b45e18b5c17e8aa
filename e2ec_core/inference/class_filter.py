"""Leaves classes out before the best instances are chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from e2ec_core.model.structures import Features


def mask_classes(features: Features, mask: Tensor) -> Features:
    """The detector's output as if it had seen nothing of the other classes.

    Args:
        features: of the batch; not changed.
        mask: bool [C], True for the classes that stay.
    """
    logits = features.logits
    kept = logits.masked_fill(~mask.view(-1, *[1] * (logits.ndim - 2)), -torch.inf)
    if features.candidates is None:
        return features._replace(heatmap=kept)
    return features._replace(candidates=features.candidates._replace(logits=kept))
