"""Leaves classes out before the best instances are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from e2ec_core.model.structures import Features


def only_classes(features: Features, class_ids: Sequence[int]) -> Features:
    """The detector's output as if it had seen nothing of the other classes.

    Args:
        features: of the batch; not changed.
        class_ids: the classes that stay.
    """
    logits = features.logits
    others = torch.ones(logits.shape[1], dtype=torch.bool)
    others[list(class_ids)] = False
    others = others.to(logits.device, non_blocking=True)
    kept = logits.masked_fill(others.view(-1, *[1] * (logits.ndim - 2)), -torch.inf)
    if features.candidates is None:
        return features._replace(heatmap=kept)
    return features._replace(candidates=features.candidates._replace(logits=kept))
