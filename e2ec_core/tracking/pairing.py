"""Which object belongs to which track: overlap of boxes and shapes, and the best pairs of all."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from e2ec_core.tracking.motion import TrackRows
from e2ec_core.tracking.objects import CELLS, Floats, Ints, Objects

MARGIN = 0.5  # boxes grow by this share of their size on every side, so that near ones overlap ...
DOUBT = 1.5  # ... and those of tracks by this many standard deviations of their place more
NEARNESS = 0.05  # of a centre where it is expected, to choose where overlaps are alike
LEAST = 0.03  # objects that overlap less are different ones


def pair(tracks: TrackRows, objects: Objects) -> Ints:
    """The row of the track of each object, int64 [K]; -1 where none fits."""
    row = np.full(len(objects.class_ids), -1)
    if not len(tracks.ids) or not len(row):
        return row
    likeness = _box_overlap(tracks, objects)
    likeness[tracks.class_ids[:, None] != objects.class_ids] = 0.0
    near = np.nonzero(likeness)
    likeness[near] += _shape_overlap(tracks, objects, *near) + _nearness(tracks, objects, *near)
    likeness[likeness < LEAST] = 0.0
    track, found = linear_sum_assignment(likeness, maximize=True)
    fits = likeness[track, found] > 0
    row[found[fits]] = track[fits]
    return row


def _nearness(a: Objects, b: Objects, i: Ints, j: Ints) -> Floats:
    """A little more for the pairs a[i], b[j] whose centres are near, in sizes of a."""
    offset = np.abs(b.place[j, :2] - a.place[i, :2]) / a.size[i]
    return np.asarray(NEARNESS / (1 + 4 * offset.sum(axis=1)))


def _box_overlap(a: TrackRows, b: Objects) -> Floats:
    """Intersection over union of the boxes with their margins, [A, B].

    Inside the larger margin of a track in doubt the place matters less, and size more.
    """
    half_a = (0.5 + MARGIN + DOUBT * a.unsure[:, None]) * a.size
    half_b = (0.5 + MARGIN) * b.size
    shared = np.ones((len(half_a), len(half_b)))
    for axis in (0, 1):
        centre_a, extent_a = a.place[:, None, axis], half_a[:, None, axis]
        centre_b, extent_b = b.place[:, axis], half_b[:, axis]
        high = np.minimum(centre_a + extent_a, centre_b + extent_b)
        low = np.maximum(centre_a - extent_a, centre_b - extent_b)
        shared *= np.maximum(high - low, 0.0)
    areas = [4 * half.prod(axis=1) for half in (half_a, half_b)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def _shape_overlap(a: Objects, b: Objects, i: Ints, j: Ints) -> Floats:
    """Intersection over union of the shapes of the pairs a[i], b[j], counted in cells of b."""
    step = np.arange(CELLS) / CELLS + 0.5 / CELLS - 0.5  # cell centres from the box's, in sizes
    offset = b.place[j, :2] - a.place[i, :2]
    at = (offset[:, :, None] + step * b.size[j, :, None]) / a.size[i, :, None] + 0.5
    cell = np.floor(at * CELLS).astype(np.int64)  # of b's cells in a, [P, 2, CELLS]
    outside = (cell < 0) | (cell >= CELLS)
    x, y = np.moveaxis(np.clip(cell, 0, CELLS - 1), 1, 0)
    inside = a.shapes[i[:, None, None], y[:, :, None], x[:, None, :]] & b.shapes[j]
    inside &= ~(outside[:, 1, :, None] | outside[:, 0, None, :])
    shared = inside.sum(axis=(1, 2)) * b.size[j].prod(axis=1)
    areas = [x.shapes.sum(axis=(1, 2)) * x.size.prod(axis=1) for x in (a, b)]
    return shared / np.maximum(areas[0][i] + areas[1][j] - shared, 1e-9)
