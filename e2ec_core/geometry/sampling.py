"""Points along closed polygons: by arc length, and the published dense sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.geometry.polygon import Polygon, as_polygon


def edge_lengths(polygon: ArrayLike) -> NDArray[np.float64]:
    """Lengths [P] of the edges p_i -> p_(i+1), the last of which closes the polygon."""
    points = as_polygon(polygon)
    step = np.roll(points, -1, axis=0) - points
    return np.asarray(np.sqrt((step * step).sum(axis=1)))


def points_at(polygon: ArrayLike, positions: ArrayLike) -> Polygon:
    """Points on the outline at given arc lengths.

    Args:
        polygon: points (x, y), [P, 2].
        positions: arc lengths from vertex 0, [n], in the polygon's units; taken modulo the
            perimeter.

    Returns:
        [n, 2].

    Raises:
        ValueError: the polygon has no length.
    """
    points = as_polygon(polygon)
    ends = np.concatenate([[0.0], np.cumsum(edge_lengths(points))])
    if len(points) == 0 or ends[-1] <= 0:
        raise ValueError("the polygon has no length: it needs at least two different points")
    wrapped = np.mod(np.asarray(positions, dtype=np.float64), ends[-1])
    closed = np.concatenate([points, points[:1]])
    x = np.interp(wrapped, ends, closed[:, 0])
    y = np.interp(wrapped, ends, closed[:, 1])
    return np.stack([x, y], axis=1)


def resample_uniform(polygon: ArrayLike, n: int) -> Polygon:
    """[n, 2] points at equal arc lengths, beginning at vertex 0, running as the polygon does.

    Raises:
        ValueError: n < 1 or the polygon has no length.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, received {n}")
    perimeter = edge_lengths(polygon).sum()
    return points_at(polygon, np.arange(n) * (perimeter / n))


def sample_edges(polygon: ArrayLike, n: int) -> Polygon:
    """[n, 2] points that contain every vertex: the published model's dense sampling.

    Each edge gets round(n * length / perimeter) points, at least one, spread evenly from its first
    vertex; what rounding left over is settled on the longest edges.

    Raises:
        ValueError: n is smaller than the number of vertices, or the polygon has no length.
    """
    points = as_polygon(polygon)
    if n < len(points):
        raise ValueError(f"n must be at least the number of vertices {len(points)}, received {n}")
    counts = _points_per_edge(edge_lengths(points), n)
    edge = np.repeat(np.arange(len(points)), counts)
    rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    fraction = (rank / counts[edge])[:, None]
    following = np.roll(points, -1, axis=0)
    return points[edge] * (1 - fraction) + following[edge] * fraction


def _points_per_edge(lengths: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    perimeter = lengths.sum()
    if perimeter <= 0:
        raise ValueError("the polygon has no length: it needs at least two different points")
    rounded = np.maximum(np.round(lengths * n / perimeter), 1)
    counts: NDArray[np.int64] = rounded.astype(np.int64)
    surplus = int(counts.sum()) - n
    for edge in np.argsort(-lengths, kind="stable"):
        taken = min(surplus, int(counts[edge]) - 1)
        counts[edge] -= taken
        surplus -= taken
        if surplus == 0:
            break
    return counts
