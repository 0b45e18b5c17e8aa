"""The network's result in one tensor, so that one copy brings it from the device."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.inference.network_output import NetworkOutput
from e2ec_core.model.structures import Features, Proposals


class Packed(NamedTuple):
    """The result of a batch.

    Attributes:
        rows: float32 [B, K, columns], one row for each slot.
        widths: number of columns of each part, by its name.
    """

    rows: Tensor
    widths: dict[str, int]

    def unpack(self) -> tuple[list[NetworkOutput], NDArray[np.float32]]:
        """The result of every image on the host, and the detector's own scores float32 [B, K]."""
        rows = self.rows.cpu().numpy()
        ends = np.cumsum(list(self.widths.values()))
        parts = dict(zip(self.widths, np.split(rows, ends[:-1], axis=2), strict=True))
        outputs = [
            _output({name: part[index] for name, part in parts.items()})
            for index in range(len(rows))
        ]
        return outputs, parts["detected"][..., 0]


def _output(parts: dict[str, NDArray[np.float32]]) -> NetworkOutput:
    """The result of one image from its parts [K, columns]."""
    amodal, ids = parts.get("amodal"), parts.get("instance_ids")
    slots = len(parts["scores"])
    return NetworkOutput(
        vertices=parts["vertices"].reshape(slots, -1, 2),
        scores=parts["scores"][:, 0],
        class_ids=parts["class_ids"][:, 0].astype(np.int64),
        finite=bool(parts["finite"].all()),
        boxes=parts.get("boxes"),
        instance_ids=None if ids is None else ids[:, 0].astype(np.int64),
        amodal=None if amodal is None else amodal.reshape(slots, -1, 2),
    )


def pack(
    features: Features,
    found: Proposals,
    scores: Tensor,
    contours: Tensor,
    amodal: Tensor | None = None,
) -> Packed:
    """Packs the result of a batch.

    Args:
        features: of all classes.
        found: the detector's instances.
        scores: [B, K] of the contours.
        contours: [B, K, N, 2] input px.
        amodal: of the same shape, if there are any.
    """
    finite = features.logits.isfinite().flatten(1).all(1)[:, None].expand_as(scores)
    given = {
        "vertices": contours.flatten(2),
        "scores": scores[..., None],
        "detected": found.scores[..., None],
        "class_ids": found.class_ids[..., None],
        "finite": finite[..., None],
        "instance_ids": None if found.instance_ids is None else found.instance_ids[..., None],
        "boxes": found.boxes,
        "amodal": None if amodal is None else amodal.flatten(2),
    }
    parts = {name: part for name, part in given.items() if part is not None}
    # float32 holds whole numbers up to 2^24 exactly, more than there are classes and ids.
    rows = torch.cat([part.float() for part in parts.values()], dim=2)
    return Packed(rows, {name: part.shape[2] for name, part in parts.items()})
