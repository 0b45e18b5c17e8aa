"""Leaves classes out before the best instances are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from e2ec_core.model.structures import Features


def only_classes(features: Features, class_ids: Sequence[int]) -> Features:
    """The detector's output as if it had seen nothing of the other classes.

    Args:
        features: of the batch; not changed.
        class_ids: the classes that stay.
    """
    mask = torch.zeros(features.logits.shape[1], dtype=torch.bool)
    mask[list(class_ids)] = True
    return mask_classes(features, mask.to(features.logits.device, non_blocking=True))


def mask_classes(features: Features, mask: Tensor) -> Features:
    """As `only_classes`, by a mask bool [C] that is True for the classes that stay."""
    logits = features.logits
    kept = logits.masked_fill(~mask.view(-1, *[1] * (logits.ndim - 2)), -torch.inf)
    if features.candidates is None:
        return features._replace(heatmap=kept)
    return features._replace(candidates=features.candidates._replace(logits=kept))
