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
    others = torch.ones(features.heatmap.shape[1], dtype=torch.bool)
    others[list(class_ids)] = False
    others = others.to(features.heatmap.device, non_blocking=True)
    return features._replace(
        heatmap=features.heatmap.masked_fill(others[:, None, None], -torch.inf)
    )
