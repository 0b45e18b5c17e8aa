"""Stable ids for objects over the images of a video: overlap of contours and a Kalman filter.

Every track predicts where its object is now. Tracks and objects of one class are paired so that
the sum of their overlaps is largest. Needs SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from e2ec_core.contours import Contours

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
R = TypeVar("R", bound="_Objects")

CELLS = 8  # a shape is kept as 8 x 8 cells of its box
MARGIN = 0.4  # boxes grow by this share of their size on every side, so that near ones overlap
LEAST = 0.06  # objects whose overlaps sum to less are different ones
MEASURED = 0.05  # standard deviation of a detected box, in sizes of the object
ACCELERATION = 1.0  # of objects and camera together, sizes per s^1.5 (white noise)
FIRST_SPEED = 2.0  # standard deviation of a new object's speed, sizes per s
HIDING = 3.0  # how much less a box counts that changes its size: something hides a part of it
PERIOD = 0.1  # s between images whose stamps do not tell


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """The tracks of the contours of one image, in their order.

    Attributes:
        ids: int64 [K], 0 or more.
        confirmed: bool [K], whether the object was seen in enough images.
    """

    ids: Ints
    confirmed: Bools


class Tracker:
    """Gives objects ids that stay with them from image to image and are never used again.

    A new object gets its id at once. A track whose object is not seen goes on at its last speed
    and ends after `memory` seconds. All tracks end when time goes back or jumps, and when the size
    of the images changes. Objects of different classes never share a track.

    Args:
        memory: how long a track lasts unseen, and the longest time between two images, s.
        confirm_after: images in which an object must be seen until its track is confirmed.

    Attributes:
        memory: the same; may change between images.
    """

    def __init__(self, memory: float = 1.0, confirm_after: int = 2) -> None:
        if not memory > 0:
            raise ValueError(f"memory is {memory}; give a number of seconds above 0")
        if confirm_after < 1:
            raise ValueError(f"confirm_after is {confirm_after}; give 1 or more")
        self.memory = memory
        self._confirm_after = confirm_after
        self._next_id = 0
        self._seconds: float | None = None
        self._image_size: tuple[int, int] | None = None
        self.reset()

    def reset(self) -> None:
        """Ends all tracks."""
        self._tracks = _begin(_NOTHING, 0)
        self._seconds, self._period = None, PERIOD

    def update(self, contours: Contours, seconds: float) -> Tracks:
        """Takes the contours of the next image.

        Args:
            contours: what was found; contours of one object (`instance_ids`) share a track.
            seconds: time of the image, s, counted from anywhere. A time that repeats the one
                before counts as one image later.
        """
        elapsed = self._elapsed(contours.image_size, seconds)
        groups = contours.by_instance()
        objects = _objects(contours, groups)
        tracks = self._tracks
        tracks.predict(elapsed)
        row = _pair(tracks, objects)
        known, new = row >= 0, np.flatnonzero(row < 0)
        tracks.correct(row[known], objects.take(known))
        row[new] = len(tracks.ids) + np.arange(len(new))
        tracks = tracks.join(_begin(objects.take(new), self._next_id))
        self._next_id += len(new)
        of_contour = np.zeros(len(contours), np.int64)
        for track, group in zip(row, groups, strict=True):
            of_contour[group] = track
        self._tracks = tracks.take(tracks.unseen < self.memory)
        return Tracks(
            ids=tracks.ids[of_contour],
            confirmed=tracks.times_seen[of_contour] >= self._confirm_after,
        )

    def _elapsed(self, image_size: tuple[int, int], seconds: float) -> float:
        """Time since the image before, s; ends all tracks where there is no going on from it."""
        elapsed = 0.0 if self._seconds is None else seconds - self._seconds
        if elapsed < 0 or elapsed > self.memory or image_size != self._image_size:
            self.reset()
        elif elapsed > 0:
            self._period = elapsed
        self._seconds, self._image_size = seconds, image_size
        return elapsed or self._period


@dataclass(kw_only=True)
class _Objects:
    """Objects, one a row.

    Attributes:
        class_ids: int64 [K].
        place: float64 [K, 4]: centre x and y of the box, px, and the logarithms of its width and
            height.
        shapes: bool [K, CELLS, CELLS] (row, column), the cells of the box that are inside.
    """

    class_ids: Ints
    place: Floats
    shapes: Bools

    def take(self: R, index: Ints | Bools) -> R:
        """Some of the rows."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def join(self: R, more: R) -> R:
        """The rows and then some more."""
        names = [f.name for f in fields(self)]
        both = {n: np.concatenate([getattr(self, n), getattr(more, n)]) for n in names}
        return type(self)(**both)

    @property
    def size(self) -> Floats:
        """Width and height, px, float64 [K, 2]."""
        return np.exp(self.place[:, 2:])


_NOTHING = _Objects(
    class_ids=np.zeros(0, np.int64),
    place=np.zeros((0, 4)),
    shapes=np.zeros((0, CELLS, CELLS), np.bool_),
)


@dataclass(kw_only=True)
class _TrackRows(_Objects):
    """Tracks, one a row, each with a Kalman filter of constant speed.

    Its noise is a share of the object's size, so that one covariance serves both axes. Sizes have
    no speed: what changes them is hiding more often than distance.

    Attributes:
        ids: int64 [T].
        times_seen: int64 [T], images in which the object was seen.
        unseen: float64 [T], s since it was last seen.
        speed: float64 [T, 2] of the centre (x, y), px/s.
        covariance: float64 [T, 3], of place with place, place with speed, speed with speed, in
            sizes of the object.
    """

    ids: Ints
    times_seen: Ints
    unseen: Floats
    speed: Floats
    covariance: Floats

    def predict(self, seconds: float) -> None:
        """Moves all tracks on in time."""
        self.unseen = self.unseen + seconds
        self.place[:, :2] += seconds * self.speed
        place, both, speed = self.covariance.T
        noise = ACCELERATION**2
        self.covariance = np.stack(
            [
                place + seconds * (2 * both + seconds * speed) + noise * seconds**3 / 3,
                both + seconds * speed + noise * seconds**2 / 2,
                speed + noise * seconds,
            ],
            axis=1,
        )

    def correct(self, rows: Ints, seen: _Objects) -> None:
        """Corrects the tracks `rows` by the objects they were paired with."""
        place, both, speed = self.covariance[rows].T
        error = seen.place - self.place[rows]
        changed = np.abs(error[:, 2:]).max(axis=1)
        total = place + MEASURED**2 * (1 + (HIDING * changed) ** 2)
        gain, speed_gain = place / total, both / total
        self.place[rows] += gain[:, None] * error
        self.speed[rows] += speed_gain[:, None] * error[:, :2]
        self.covariance[rows] = np.stack(
            [place * (1 - gain), both * (1 - gain), speed - speed_gain * both], axis=1
        )
        self.shapes[rows] = seen.shapes
        self.times_seen[rows] += 1
        self.unseen[rows] = 0.0


def _begin(new: _Objects, first_id: int) -> _TrackRows:
    """Tracks of new objects, at rest, with the next ids."""
    count = len(new.class_ids)
    return _TrackRows(
        class_ids=new.class_ids,
        place=new.place,
        shapes=new.shapes,
        ids=first_id + np.arange(count),
        times_seen=np.ones(count, np.int64),
        unseen=np.zeros(count),
        speed=np.zeros((count, 2)),
        covariance=np.tile([MEASURED**2, 0.0, FIRST_SPEED**2], (count, 1)),
    )


def _objects(contours: Contours, groups: list[Ints]) -> _Objects:
    """The objects of an image; `groups` has the indices of the contours of each."""
    if not groups:
        return _NOTHING
    order = np.concatenate(groups)
    first = np.cumsum([0, *map(len, groups[:-1])])  # of each object, in that order
    of_contour = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    vertices = np.moveaxis(contours.vertices[order], 2, 0)
    xy = np.ascontiguousarray(vertices)  # [2, K, N]; NumPy is slow along short last axes
    low = np.minimum.reduceat(xy.min(axis=2), first, axis=1).astype(np.float64)
    high = np.maximum.reduceat(xy.max(axis=2), first, axis=1).astype(np.float64)
    size = np.maximum(high - low, 1.0)
    scale = CELLS / size[:, of_contour, None]
    in_cells = (xy - low[:, of_contour, None]) * scale - 0.5
    return _Objects(
        class_ids=contours.class_ids[order[first]],
        place=np.concatenate([low + size / 2, np.log(size)]).T.copy(),
        shapes=np.logical_or.reduceat(_fill(*in_cells), first),
    )


def _fill(x: Floats, y: Floats) -> Bools:
    """Which cells K contours enclose, by the even-odd rule.

    Args:
        x: [K, N], in cells; 0 is the centre of the first column.
        y: [K, N], the same for rows.

    Returns:
        [K, CELLS, CELLS] (row, column).
    """
    above = y <= np.arange(CELLS)[:, None, None]
    row, k, edge = np.nonzero(above != np.roll(above, -1, axis=2))
    x0, y0 = x[k, edge], y[k, edge]
    x1, y1 = x[k, edge - x.shape[1] + 1], y[k, edge - x.shape[1] + 1]  # the next vertex
    crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing), 0, CELLS).astype(np.int64)
    flips = np.bincount(
        (k * CELLS + row) * (CELLS + 1) + column, minlength=len(x) * CELLS * (CELLS + 1)
    ).reshape(-1, CELLS, CELLS + 1)
    return np.cumsum(flips, axis=2)[..., :CELLS] % 2 == 1


def _pair(tracks: _TrackRows, objects: _Objects) -> Ints:
    """The row of the track of each object, int64 [K]; -1 where none fits."""
    row = np.full(len(objects.class_ids), -1)
    if not len(tracks.ids) or not len(row):
        return row
    likeness = _box_overlap(tracks, objects)
    likeness[tracks.class_ids[:, None] != objects.class_ids] = 0.0
    near = np.nonzero(likeness)
    likeness[near] += _shape_overlap(tracks, objects, *near)
    likeness[likeness < LEAST] = 0.0
    track, found = linear_sum_assignment(likeness, maximize=True)
    fits = likeness[track, found] > 0
    row[found[fits]] = track[fits]
    return row


def _box_overlap(a: _Objects, b: _Objects) -> Floats:
    """Intersection over union of the boxes with their margins, [A, B]."""
    half_a, half_b = ((0.5 + MARGIN) * one.size for one in (a, b))
    shared = np.ones((len(half_a), len(half_b)))
    for axis in (0, 1):
        centre_a, extent_a = a.place[:, None, axis], half_a[:, None, axis]
        centre_b, extent_b = b.place[:, axis], half_b[:, axis]
        high = np.minimum(centre_a + extent_a, centre_b + extent_b)
        low = np.maximum(centre_a - extent_a, centre_b - extent_b)
        shared *= np.maximum(high - low, 0.0)
    areas = [4 * half.prod(axis=1) for half in (half_a, half_b)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def _shape_overlap(a: _Objects, b: _Objects, i: Ints, j: Ints) -> Floats:
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
