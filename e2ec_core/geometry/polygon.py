"""Elementary operations on closed polygons: area, orientation, cleaning, clipping.

A polygon is a float64 array [P, 2] of points (x, y), closed implicitly (the last point joins
the first). x runs right and y runs down, so a polygon that runs counter-clockwise *as seen on the
screen* has a negative shoelace sum. Units are whatever the caller uses (image px, feature cells).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Polygon = NDArray[np.float64]


def as_polygon(polygon: ArrayLike) -> Polygon:
    """Points as float64 [P, 2], from that shape or COCO's flat [2 P] (x0, y0, x1, ...).

    Raises:
        ValueError: the array has another shape or holds a value that is not finite.
    """
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"a polygon must have shape [P, 2] or [2 P], received {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("a polygon must be finite, received nan or inf")
    return points


def signed_area(polygon: ArrayLike) -> float:
    """Shoelace area in squared units: negative if counter-clockwise on the screen (y down)."""
    points = as_polygon(polygon)
    if len(points) < 3:
        return 0.0
    # Relative to the first vertex, so that far-away small polygons keep their digits.
    x, y = (points - points[0]).T
    after_x, after_y = np.concatenate([x[1:], x[:1]]), np.concatenate([y[1:], y[:1]])
    return float(0.5 * (x * after_y - after_x * y).sum())


def orient(polygon: ArrayLike) -> Polygon:
    """Returns the polygon running counter-clockwise on the screen, as the model is trained.

    Args:
        polygon: points (x, y), [P, 2]. It is reversed as a whole if need be.
    """
    points = as_polygon(polygon)
    return points[::-1].copy() if signed_area(points) > 0 else points


def clean_polygon(polygon: ArrayLike, tolerance: float = 1e-6) -> Polygon:
    """Drops vertices that repeat the one before them (also the last that repeats the first).

    The published label code drops every repeated vertex, wherever it stands; that breaks shapes
    which touch themselves, so here only neighbours are compared.

    Args:
        polygon: points (x, y), [P, 2].
        tolerance: largest distance, per axis, at which two vertices count as one.

    Returns:
        [P', 2] with P' <= P; fewer than three points mean that no polygon is left.
    """
    points = as_polygon(polygon)
    if len(points) < 2:
        return points
    step = np.abs(np.diff(points, axis=0)).max(axis=1)
    cleaned: Polygon = points[np.concatenate([[True], step > tolerance])]
    while len(cleaned) > 1 and np.abs(cleaned[-1] - cleaned[0]).max() <= tolerance:
        cleaned = cleaned[:-1]
    return cleaned


def bounding_box(polygon: ArrayLike) -> NDArray[np.float64]:
    """Box [4] (x_min, y_min, x_max, y_max) around at least one point."""
    points = as_polygon(polygon)
    box: NDArray[np.float64] = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return box


def clip_polygon(polygon: ArrayLike, width: float, height: float) -> Polygon:
    """Cuts the polygon to the pixel centres of an image: x in [0, width-1], y in [0, height-1].

    Sutherland-Hodgman: a concave polygon cut into several pieces comes back as one, its pieces
    joined along the border.

    Returns:
        [P', 2], the same orientation; empty [0, 2] if nothing is inside.
    """
    points = as_polygon(polygon)
    for axis, limit in ((0, float(width) - 1.0), (1, float(height) - 1.0)):
        points = _cut(points, axis, 0.0, sign=1.0)
        points = _cut(points, axis, limit, sign=-1.0)
    return points


def _cut(points: Polygon, axis: int, limit: float, sign: float) -> Polygon:
    """Keeps the half plane `sign * (coordinate - limit) >= 0`."""
    depth = sign * (points[:, axis] - limit)
    inside = depth >= 0
    if inside.all():
        return points
    if not inside.any():
        return points[:0]
    following, depth_following = np.roll(points, -1, axis=0), np.roll(depth, -1)
    crosses = inside != np.roll(inside, -1)
    gap = np.where(crosses, depth - depth_following, 1.0)
    crossing = points + (depth / gap)[:, None] * (following - points)
    crossing[:, axis] = limit
    # Every vertex gives itself (if inside) and then the crossing on the edge that leaves it.
    both = np.stack([points, crossing], axis=1)
    kept: Polygon = both[np.stack([inside, crosses], axis=1)]
    return kept
