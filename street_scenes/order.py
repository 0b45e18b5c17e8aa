"""Which of two things on the ground stands before the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Footprints = NDArray[np.float64]


def paint_order(
    footprints: Footprints, eye: tuple[float, float], touching: NDArray[np.bool_]
) -> list[int]:
    """Order in which things must be painted so that nearer ones cover farther ones.

    Sorting by distance fails for long vehicles: a person beside a bus may be nearer than the
    bus's middle and still stand behind it. A line that separates two convex footprints settles
    it: what lies on the camera's side of the line is in front.

    Args:
        footprints: `[N, 4, 2]`, corners counter-clockwise, world x and y, m.
        eye: World `(x, y)` of the camera, m.
        touching: `[N, N]`, whether two things can overlap in the image.

    Returns:
        Indices, the first to be painted first.
    """
    if len(footprints) == 0:
        return []
    behind = _behind(footprints, np.asarray(eye)) & touching
    distance = np.linalg.norm(footprints.mean(1) - np.asarray(eye), axis=1)
    waiting = list(np.argsort(-distance))
    order: list[int] = []
    while waiting:
        # Farthest thing with nothing left to paint behind it; a circle, which only footprints
        # that overlap can form, is cut at the farthest.
        blockers = behind[np.ix_(waiting, waiting)].any(0)
        free = int(np.argmin(blockers)) if not blockers.all() else 0
        order.append(int(waiting.pop(free)))
    return order


def _behind(footprints: Footprints, eye: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[N, N]`: whether thing i must be painted before thing j."""
    edges = np.roll(footprints, -1, 1) - footprints
    normals = np.stack([edges[..., 1], -edges[..., 0]], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    offsets = (normals * footprints).sum(-1)
    # gap[i, e, j]: by how much all of j lies outside edge e of i.
    reach = np.einsum("ied,jcd->iejc", normals, footprints).min(-1)
    gap = reach - offsets[..., None]
    best = gap.argmax(1)
    count = len(footprints)
    rows = np.arange(count)[:, None]
    apart = np.take_along_axis(gap, best[:, None], 1)[:, 0]
    outside = ((normals @ eye) - offsets)[rows, best] > 0
    # Of the two candidates for a pair (an edge of i, an edge of j) the wider gap decides.
    by_first = apart >= apart.T
    first_behind = np.where(by_first, outside, ~outside.T)
    np.fill_diagonal(first_behind, False)
    separate = np.maximum(apart, apart.T) > -0.05
    return np.asarray(first_behind & separate)
