"""How far the contours of two backends lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours

SCORE_TOLERANCE = 1e-4


def greatest_distance(a: Contours, b: Contours) -> float:
    """The greatest distance of two vertices that should be equal, px, over all instances.

    Instances are matched by class and score, as those of nearly equal scores may change places.

    Args:
        a: contours of one backend.
        b: of the other, for the same image and settings.

    Returns:
        px; infinite where an instance of one has no partner in the other.
    """
    if len(a) != len(b):
        return float("inf")
    if not len(a):
        return 0.0
    same = a.class_ids[:, None] == b.class_ids
    same &= np.abs(a.scores[:, None] - b.scores) < SCORE_TOLERANCE
    moved = np.linalg.norm(_points(a)[:, None] - _points(b), axis=-1).max(axis=-1)
    distance = np.where(same, moved, np.inf)
    return float(max(distance.min(axis=0).max(), distance.min(axis=1).max()))


def mean_distances(a: Contours, b: Contours) -> NDArray[np.float32]:
    """How far the contours of one lie from the nearest ones of the other, for coarse arithmetic.

    Args:
        a: contours of one backend.
        b: of the other, for the same image and settings.

    Returns:
        float32 [len(a)], mean distance of a contour's vertices, px; infinite without a contour of
        its class.
    """
    if not len(b):
        return np.full(len(a), np.inf, np.float32)
    away = np.linalg.norm(_points(a)[:, None] - _points(b), axis=-1).mean(axis=-1)
    away = np.where(a.class_ids[:, None] == b.class_ids, away, np.inf)
    nearest: NDArray[np.float32] = away.min(axis=1).astype(np.float32)
    return nearest


def _points(contours: Contours) -> NDArray[np.float32]:
    """Vertices of both outlines, [K, N or 2 N, 2]."""
    if contours.amodal_vertices is None:
        return contours.vertices
    return np.concatenate([contours.vertices, contours.amodal_vertices], axis=1)
