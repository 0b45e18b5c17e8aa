"""Multi-direction alignment: pair the vertices of ground truth and prediction by direction.

Paper, section 3.2: M rays leave the centre of the object's box in fixed directions; the contour
point met by each ray gets a fixed vertex number, and the vertices between two such anchors are
spread evenly. The first ray points down, the others follow counter-clockwise on the screen: with
M = 4 and N = 128 the vertices 0, 32, 64, 96 lie at bottom, right, top, left.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.geometry.polygon import Polygon, orient
from e2ec_core.geometry.sampling import edge_lengths, points_at, resample_uniform, sample_edges

AlignmentMode = Literal["monotone", "published"]

_SAMPLES_PER_VERTEX = 8
# Between two contour points on one ray the outer is meant; small enough to bend no ray by 0.1 deg.
_OUTWARD_PREFERENCE = 1e-3


def align_contour(
    polygon: ArrayLike,
    vertices: int = 128,
    directions: int = 4,
    mode: AlignmentMode = "monotone",
) -> Polygon:
    """Resamples a polygon to a contour whose vertices are aligned with M directions.

    `published` takes for each direction the vertex nearest to it, as the published model's
    labels do: for concave shapes these need not follow each other around the contour, and the
    result then winds two or three times. `monotone` (deviation, for that reason) takes the
    anchors that agree best with the directions among all that follow each other, by dynamic
    programming, so the result runs around exactly once.

    Args:
        polygon: simple polygon, points (x, y), [P, 2], any unit, either orientation.
        vertices: N, the number of vertices of the contour.
        directions: M, a divisor of N (1, 2, 4, 8, ..., N), or 0 for no alignment: vertices evenly
            spread from the polygon's own first one.
        mode: how the anchors are chosen, see above.

    Returns:
        float64 [N, 2], counter-clockwise on the screen, the first vertex at the bottom
        (straight below the centre of the polygon's box) unless `directions` is 0.

    Raises:
        ValueError: N or M out of range, unknown mode, or a polygon without length.
    """
    _check(vertices, directions, mode)
    points = orient(polygon)
    if directions == 0:
        return resample_uniform(points, vertices)
    if mode == "published":
        return _align_published(points, vertices, directions)
    return _align_monotone(points, vertices, directions)


def _check(vertices: int, directions: int, mode: str) -> None:
    if vertices < 3:
        raise ValueError(f"vertices must be at least 3, received {vertices}")
    if directions < 0 or (directions > 0 and vertices % directions):
        raise ValueError(
            f"directions must be 0 or divide the {vertices} vertices, received {directions}"
        )
    if mode not in ("monotone", "published"):
        raise ValueError(f"mode must be 'monotone' or 'published', received {mode!r}")


def _rays(directions: int) -> NDArray[np.float64]:
    """Unit vectors [M, 2]: down first, then counter-clockwise on the screen (right, up, left).

    Rounded so that the axes are exact and M = 4 compares plain coordinates, as published.
    """
    angle = np.arange(directions) * (2 * np.pi / directions)
    return np.round(np.stack([np.sin(angle), np.cos(angle)], axis=1), 12)


def _agreement(points: Polygon, centre: NDArray[np.float64], directions: int) -> Polygon:
    """Cosines [M, S] between each ray and the direction of each point from the centre."""
    arms = points - centre
    norm = np.sqrt((arms * arms).sum(axis=1))
    return np.asarray(_rays(directions) @ (arms / np.maximum(norm, 1e-12)[:, None]).T)


def _box_centre(points: Polygon) -> NDArray[np.float64]:
    return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)


def _align_published(points: Polygon, vertices: int, directions: int) -> Polygon:
    dense = sample_edges(points, vertices * len(points))
    anchors = _agreement(dense, _box_centre(dense), directions).argmax(axis=1)
    following = np.roll(anchors, -1)
    span = following - anchors + np.where(anchors > following, len(dense), 0)
    per_side = vertices // directions
    step = np.arange(per_side) * span[:, None] // per_side
    contour: Polygon = dense[(anchors[:, None] + step).ravel() % len(dense)]
    return contour


def _align_monotone(points: Polygon, vertices: int, directions: int) -> Polygon:
    samples = max(_SAMPLES_PER_VERTEX * vertices, 64)
    dense = resample_uniform(points, samples)
    centre = _box_centre(points)
    score = _agreement(dense, centre, directions)
    reach = np.sqrt(((dense - centre) ** 2).sum(axis=1))
    score += _OUTWARD_PREFERENCE * reach / max(float(reach.max()), 1e-12)
    start = int(score[0].argmax())
    # A quarter of the even spacing: no side collapses to a single point.
    anchors = start + _cyclic_anchors(np.roll(score, -start, axis=1), samples // (4 * directions))
    corners = np.append(anchors, start + samples) * (edge_lengths(points).sum() / samples)
    per_side = vertices // directions
    position = np.interp(np.arange(vertices) / per_side, np.arange(directions + 1), corners)
    return points_at(points, position)


def _cyclic_anchors(score: NDArray[np.float64], gap: int) -> NDArray[np.int64]:
    """Increasing sample numbers, one per direction, with the greatest total score.

    Args:
        score: [M, S], sample 0 being the anchor of direction 0.
        gap: least distance in samples between neighbouring anchors, cyclically.

    Returns:
        int64 [M], the first is 0 and the last at most S - gap.
    """
    count, samples = score.shape
    free: NDArray[np.int64] = score.argmax(axis=1).astype(np.int64)
    free[0] = 0
    if (np.diff(np.append(free, samples)) >= gap).all():
        return free
    total = np.full((count, samples), -np.inf)
    total[0, 0] = score[0, 0]
    for k in range(1, count):
        best_before = np.maximum.accumulate(total[k - 1])
        total[k, gap:] = best_before[: samples - gap] + score[k, gap:]
    anchors = np.zeros(count, dtype=np.int64)
    end = samples
    for k in range(count - 1, 0, -1):
        anchors[k] = end = int(total[k, : end - gap + 1].argmax())
    return anchors
