"""One ring for an object that is seen in several parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from e2ec_core.geometry.polygon import Polygon, as_polygon, orient, signed_area

_ON_EDGE = 0.01  # px


def join_polygons(parts: Sequence[ArrayLike], min_share: float = 0.03) -> Polygon:
    """Joins parts by bridges without width between their nearest vertices.

    An occluder can cut an object in pieces, and a contour is one ring: walking over a bridge and
    back encloses all pieces and nothing else. Parts inside another are left out, see
    `outer_polygons`.

    Args:
        parts: simple polygons [P_i, 2] (x, y) that do not cross each other.
        min_share: parts smaller than this share of the whole area are left out.

    Returns:
        float64 [P, 2], counter-clockwise on the screen.

    Raises:
        ValueError: no part has an area.
    """
    rings = [orient(part) for part in outer_polygons(parts)]
    areas = np.array([abs(signed_area(ring)) for ring in rings])
    if areas.size == 0 or areas.sum() <= 0:
        raise ValueError("no part has an area; drop the instance")
    order = [i for i in np.argsort(-areas) if areas[i] >= min_share * areas.sum()]
    joined = rings[order[0]]
    left = [rings[i] for i in order[1:]]
    while left:
        links = [_nearest(joined, ring) for ring in left]
        best = min(range(len(left)), key=lambda i: links[i][0])
        _, here, there = links[best]
        joined = _splice(joined, left.pop(best), here, there)
    return joined


def outer_polygons(parts: Sequence[ArrayLike]) -> list[Polygon]:
    """Leaves out polygons that lie inside another or repeat it, in the order given.

    Exporters write a hole as one more polygon of the object, and an island in it as another. The
    mask of COCO's tools is the union of all polygons, so neither changes it.
    """
    rings = [as_polygon(part) for part in parts]
    if len(rings) < 2:
        return rings
    lows = np.array([ring.min(axis=0) for ring in rings]) - _ON_EDGE
    highs = np.array([ring.max(axis=0) for ring in rings]) + _ON_EDGE
    outer: list[int] = []
    for i in sorted(range(len(rings)), key=lambda i: -abs(signed_area(rings[i]))):
        low, high = rings[i].min(axis=0), rings[i].max(axis=0)
        around = (lows[outer] <= low).all(axis=1) & (highs[outer] >= high).all(axis=1)
        if not any(_lies_inside(rings[i], rings[outer[j]]) for j in np.flatnonzero(around)):
            outer.append(i)
    return [rings[i] for i in sorted(outer)]


def _lies_inside(ring: Polygon, other: Polygon) -> bool:
    """Whether the vertices and the middles of the edges of a ring lie in or on another."""
    import cv2

    low = other.min(axis=0)
    outline = (other - low).astype(np.float32)
    points = np.concatenate([ring, (ring + np.roll(ring, -1, axis=0)) / 2]) - low
    return all(
        cv2.pointPolygonTest(outline, (x, y), measureDist=True) >= -_ON_EDGE
        for x, y in points.tolist()
    )


def _nearest(a: Polygon, b: Polygon) -> tuple[float, int, int]:
    """Squared distance of the nearest pair of vertices, and their indices."""
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    i, j = np.unravel_index(squared.argmin(), squared.shape)
    return float(squared[i, j]), int(i), int(j)


def _splice(ring: Polygon, other: Polygon, here: int, there: int) -> Polygon:
    """Ring that leaves at vertex `here`, walks round `other` from `there`, and comes back."""
    detour = np.roll(other, -there, axis=0)
    joined: Polygon = np.concatenate([ring[: here + 1], detour, detour[:1], ring[here:]])
    return joined
