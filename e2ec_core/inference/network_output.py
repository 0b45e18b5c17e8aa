"""What a backend finds in one image, before it becomes contours of the image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_SCORE = 1e-6
"""Empty slots have score 0; below this one no instance is reported."""


class NetworkOutput(NamedTuple):
    """What a backend finds in one image; slots that hold no instance have score 0.

    Attributes:
        vertices: float32 [K, N, 2] input px.
        scores: float32 [K] in 0..1.
        class_ids: int64 [K].
        finite: whether all class logits are finite.
        boxes: float32 [K, 4] xyxy, the detector's, input px; None without a box head.
        instance_ids: int64 [K], equal for components of one instance; None without components.
        amodal: float32 [K, N, 2] input px, the amodal contours; None if not asked for.
    """

    vertices: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    finite: bool
    boxes: NDArray[np.float32] | None = None
    instance_ids: NDArray[np.int64] | None = None
    amodal: NDArray[np.float32] | None = None

    def best(self, threshold: float) -> NetworkOutput:
        """The instances that reach a score, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return self._at(order[self.scores[order] >= threshold])

    def first(self, count: int) -> NetworkOutput:
        """The instances in the first slots, those that the detector was most sure of."""
        return self._at(np.arange(min(count, len(self.scores))))

    def _at(self, index: NDArray[np.int64]) -> NetworkOutput:
        arrays = ("vertices", "scores", "class_ids", "boxes", "instance_ids", "amodal")
        values = {name: getattr(self, name) for name in arrays}
        chosen: dict[str, Any] = {n: v[index] for n, v in values.items() if v is not None}
        return self._replace(**chosen)
