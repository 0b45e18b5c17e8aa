"""Which measured points belong to which object, and where the objects are.

Inside an outline there are also points of other things: the outline runs a little beside the
object, beams pass through windows, and an amodal outline covers what stands in front. So points
near the outline are left out, the rest is cut into groups at gaps in distance, and the group that
fills most of the outline is the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.distance.samples import Samples
from e2ec_core.geometry import contour_to_mask

EROSION = 0.2  # of the largest distance to the outline; what is nearer to it is left out
GAP = 0.5  # m between two groups of points ...
GAP_GROWTH = 0.02  # ... and more for each m of distance, as beams spread
ENOUGH = 0.5  # of the heaviest group's weight; the nearest group with as much is the object
FEWEST = 3  # points without which nothing is said
LEAST_SHARE = 0.15  # of an object's points that must be in its outline alone to tell where it is
LOW, HIGH = 2.0, 98.0  # percentiles between which an object reaches
MAD_TO_SIGMA = 1.4826  # of a normal distribution

Points = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Inside:
    """The samples inside the outlines of one object.

    Attributes:
        rows: int64 [m], which samples are well inside.
        depth: float64 [m], px from each of these to the nearest pixel outside.
        rim: int64 [r], which samples are inside, but too near to the outline to be sure.
    """

    rows: Indices
    depth: Points
    rim: Indices


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where an object is; camera frame (x right, y down, z forward), m.

    What the sensor does not see, such as an object's far side, is not in it.

    Attributes:
        points: how many points it was measured with; 0: not located, all else is NaN.
        position: float64 [3], the median of the points.
        low: float64 [3], the 2nd percentile of each coordinate.
        high: float64 [3], the 98th percentile of each coordinate; with `low` the corners of a box.
        spread: float64 [3], the robust standard deviation (1.4826 MAD) of each coordinate.
        near: the distance from the camera to the near side: the 2nd percentile of the points'.
    """

    points: int
    position: Points
    low: Points
    high: Points
    spread: Points
    near: float

    @property
    def extent(self) -> Points:
        """The size along each axis, float64 [3], m."""
        return self.high - self.low


def locate(
    samples: Samples,
    outlines: Sequence[ArrayLike],
    image_size: tuple[int, int],
    groups: Sequence[Sequence[int]] | None = None,
    amodal: bool = False,
) -> tuple[list[Location], NDArray[np.int32]]:
    """Finds the points of every object and measures where it is.

    Where outlines overlap, each point goes to the object whose distance it has; where it has that
    of several, to the nearer of them, or to the better of those that are about equally near.

    Args:
        samples: the points.
        outlines: contours [N, 2] (x, y) in px of the same image, better ones first; vertices that
            are NaN are left out.
        image_size: (height, width), px.
        groups: the outlines of each object; None: each is an object of its own.
        amodal: the outlines enclose hidden parts too. An object whose outline shows nothing but
            others is hidden then, and not located.

    Returns:
        a location for each object, and int32 [n] the object of each sample, -1 for none.
    """
    if groups is None:
        groups = [[i] for i in range(len(outlines))]
    columns, rows = np.rint(samples.pixels.T).astype(np.int64)
    inside = [_inside(columns, rows, [outlines[i] for i in g], image_size) for g in groups]
    distances = np.linalg.norm(samples.points, axis=1)
    labels = _share(inside, _cores(inside, distances, amodal), distances)
    return [measure(samples.points[labels == i]) for i in range(len(groups))], labels


def measure(points: Points) -> Location:
    """Measures the points of one object, float64 [n, 3], camera frame, m."""
    if len(points) < FEWEST:
        unknown = np.full(3, np.nan)
        return Location(
            points=0, position=unknown, low=unknown, high=unknown, spread=unknown, near=np.nan
        )
    position = np.median(points, axis=0)
    low, high = np.percentile(points, (LOW, HIGH), axis=0)
    return Location(
        points=len(points),
        position=position,
        low=low,
        high=high,
        spread=MAD_TO_SIGMA * np.median(np.abs(points - position), axis=0),
        near=float(np.percentile(np.linalg.norm(points, axis=1), LOW)),
    )


def main_group(distances: Points, weights: Points) -> NDArray[np.bool_]:
    """Chooses the points of the object itself among those inside its outline.

    Of the groups that gaps in distance separate, it takes the nearest that weighs at least half
    as much as the heaviest: more often something is seen past an object, or through it, than in
    front of it, and dark paint gives few points.

    Args:
        distances: [n], m from the camera.
        weights: [n], above 0, how surely a point is inside.

    Returns:
        bool [n].
    """
    if not len(distances):
        return np.zeros(0, np.bool_)
    order = np.argsort(distances, kind="stable")
    ordered = distances[order]
    cuts = np.diff(ordered) > margin_at(ordered[:-1])
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(cuts)])  # the nearest group first
    sums = np.bincount(numbers, weights)
    return np.asarray(numbers == np.argmax(sums >= ENOUGH * sums.max()), np.bool_)


def margin_at(distances: Any) -> Any:
    """The gap that separates two objects at a distance; both in m."""
    return GAP + GAP_GROWTH * distances


def _inside(
    x: Indices, y: Indices, outlines: Sequence[ArrayLike], image_size: tuple[int, int]
) -> Inside:
    """The samples well inside the outlines of one object; x, y [n] are their pixels."""
    depth, rim = np.zeros(len(x)), np.zeros(len(x), np.bool_)
    size = np.array(image_size[::-1])
    for outline in outlines:
        vertices = np.asarray(outline, np.float64)
        vertices = vertices[np.isfinite(vertices).all(axis=1)]
        if len(vertices) < 3:
            continue
        low = np.clip(np.floor(vertices.min(axis=0)), 0, size).astype(int)
        high = np.clip(np.ceil(vertices.max(axis=0)) + 1, low, size).astype(int)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        if left == right or top == bottom:
            continue
        mask = contour_to_mask(vertices - low, bottom - top, right - left)
        # How far each pixel is from the nearest one outside.
        far = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        there = np.flatnonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))
        found = far[y[there] - top, x[there] - left]
        rim[there] |= found > 0
        found[found <= EROSION * far.max()] = 0.0
        depth[there] = np.maximum(depth[there], found)
    rows = np.flatnonzero(depth)
    return Inside(rows=rows, depth=depth[rows], rim=np.flatnonzero(rim & (depth == 0)))


def _cores(inside: Sequence[Inside], distances: Points, amodal: bool) -> dict[int, Points]:
    """The distances of the surest points of each object, which tell where it is.

    They are those in no other outline, where there are enough of these: behind an outline that
    overlaps may be another object. Else those that no object known by then explains.
    """
    claims = np.zeros(len(distances), np.int64)
    for own in inside:
        claims[own.rows] += 1
    alone = {i: claims[own.rows] == 1 for i, own in enumerate(inside)}
    cores: dict[int, Points] = {}
    explained = np.zeros(len(distances), np.bool_)
    for i, own in enumerate(inside):
        core = _core(own, alone[i], distances)
        if core is not None:
            cores[i] = core
            explained[own.rows] |= _fits(distances[own.rows], core)
    for i in [i for i in alone if i not in cores]:
        own = inside[i]
        alone[i] = ~explained[own.rows]
        core = _core(own, alone[i], distances)
        if core is None and not amodal:
            alone[i] = np.ones(len(own.rows), np.bool_)
            core = _core(own, alone[i], distances)
        if core is not None:
            cores[i] = core
    return _without_rims(inside, cores, alone, distances)


def _without_rims(
    inside: Sequence[Inside],
    cores: dict[int, Points],
    alone: dict[int, NDArray[np.bool_]],
    distances: Points,
) -> dict[int, Points]:
    """The cores again, without points that lie in the rim of another object and fit it.

    A rim does not tell where its own object is, but what lies in it at that distance does not
    tell where the other one is either: outlines of objects behind one another meet there.
    """
    rims = np.zeros(len(distances), np.bool_)
    for i, core in cores.items():
        rims[inside[i].rim] |= _fits(distances[inside[i].rim], core)
    again = {i: _core(inside[i], alone[i] & ~rims[inside[i].rows], distances) for i in cores}
    return {i: core if again[i] is None else again[i] for i, core in cores.items()}  # type: ignore[misc]


def _core(own: Inside, chosen: NDArray[np.bool_], distances: Points) -> Points | None:
    """Distances of the main group of the chosen points; None where these are too few."""
    if np.count_nonzero(chosen) < max(FEWEST, LEAST_SHARE * len(own.rows)):
        return None
    found = distances[own.rows[chosen]]
    return found[main_group(found, own.depth[chosen])]


def _fits(distances: Points, core: Points) -> NDArray[np.bool_]:
    """Whether points [n] may be of the object with this core; all in m."""
    low, high = core.min(), core.max()
    return np.asarray(
        (distances >= low - margin_at(low)) & (distances <= high + margin_at(high)), np.bool_
    )


def _share(
    inside: Sequence[Inside], cores: dict[int, Points], distances: Points
) -> NDArray[np.int32]:
    """Gives every sample to one object at most, int32 [n], -1 for none."""
    labels = np.full(len(distances), -1, np.int32)
    holder = np.full(len(distances), np.inf)  # distance of the object that has the sample
    for i, core in cores.items():
        rows = inside[i].rows[_fits(distances[inside[i].rows], core)]
        middle = float(np.median(core))
        tie = np.abs(holder[rows] - middle) < margin_at(middle)
        taken = rows[np.where(tie, labels[rows] > i, middle < holder[rows])]
        labels[taken], holder[taken] = i, middle
    return labels
