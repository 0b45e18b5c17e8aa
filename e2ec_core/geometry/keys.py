"""Key vertices: the corners that carry a contour's shape, by Douglas-Peucker."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.geometry.polygon import as_polygon


def key_vertices(contour: ArrayLike, tolerance: float) -> NDArray[np.bool_]:
    """Marks the vertices that Douglas-Peucker keeps (paper, section 3.3).

    As the published model's labels do it: vertex 0 is always a key; the contour is opened there
    and ends at a virtual point midway between the last vertex and the first.

    Args:
        contour: points (x, y), [N, 2].
        tolerance: largest distance, in the contour's units, from the simplified outline at which a
            vertex is still dropped (published: 3 feature cells, which is 12 input px).

    Returns:
        bool [N].

    Raises:
        ValueError: tolerance is not positive, or the contour is empty.
    """
    points = as_polygon(contour)
    if tolerance <= 0:
        raise ValueError(f"tolerance must be positive, received {tolerance}")
    if len(points) == 0:
        raise ValueError("the contour has no vertices")
    is_key = np.zeros(len(points), dtype=np.bool_)
    is_key[0] = True
    opened = np.concatenate([points, (points[:1] + points[-1:]) / 2])
    # Published: 1e-4 under the root for a tolerance of 3; scaled, so that units do not matter.
    softening = 1e-4 * (tolerance / 3.0) ** 2
    pending = [(0, len(points))]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distance = _distance_to_line(opened[first : last + 1], softening)
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            split = first + 1 + farthest
            is_key[split] = True
            pending += [(first, split), (split, last)]
    return is_key


def _distance_to_line(points: NDArray[np.float64], softening: float) -> NDArray[np.float64]:
    """Distances of the inner points from the line through the first and the last."""
    along = points[-1] - points[0]
    arm = points[1:-1] - points[0]
    cross = np.abs(along[1] * arm[:, 0] - along[0] * arm[:, 1])
    return np.asarray(cross / np.sqrt(along @ along + softening))
